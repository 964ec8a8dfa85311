//! Compiles the shim against the libtorch that torch-sys found, and tells dependents where that is.
//!
//! A package with executables needs one line in its build script, because link arguments reach only the package that
//! prints them: `println!("cargo::rustc-link-arg=-Wl,-rpath,{}", env::var("DEP_TUTTI_SHIM_LIBTORCH_LIB")?)`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// c10d's C++ classes have no stable layout: another version would read memory wrongly instead of failing to link.
const TORCH: &str = "2.11";

/// As in PyTorch's own Caffe2Targets.cmake; they decide class layouts.
const DEFINES: [&str; 4] = [
    "USE_DISTRIBUTED",
    "USE_C10D_GLOO",
    "USE_RPC",
    "USE_TENSORPIPE",
];

fn main() -> Result<(), Box<dyn Error>> {
    let lib = PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB").map_err(
        |_| "torch-sys did not say where libtorch is; expected DEP_TCH_LIBTORCH_LIB from its build script",
    )?);
    let torch = lib
        .parent()
        .ok_or_else(|| format!("{} has no parent folder", lib.display()))?;
    check_version(torch)?;

    let include = torch.join("include");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        // Thin wrappers around libtorch: optimising the templates in its headers costs time and brings nothing.
        .opt_level(1)
        .debug(false)
        .include("gloo-stubs")
        .flag("-Wno-unused-parameter");
    // As system headers, whose warnings are not ours.
    for folder in [include.clone(), include.join("torch/csrc/api/include")] {
        build.flag("-isystem").flag(folder);
    }
    for define in DEFINES {
        build.define(define, None);
    }
    for file in ["store", "group", "reducer", "ordered", "numerics"] {
        build.file(format!("shim/{file}.cpp"));
    }
    build.compile("tutti_shim");

    for folder in ["shim", "gloo-stubs"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    println!("cargo::metadata=LIBTORCH_LIB={}", lib.display());
    // For plugins, which speak to the shim in its own terms.
    println!(
        "cargo::metadata=INCLUDE={}",
        Path::new(&env::var("CARGO_MANIFEST_DIR")?)
            .join("shim")
            .display()
    );
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    Ok(())
}

fn check_version(torch: &Path) -> Result<(), String> {
    let header = torch.join("include/torch/headeronly/version.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let found = fs::read_to_string(&header)
        .map_err(|error| format!("{} cannot be read ({error})", header.display()))
        .and_then(|text| {
            let number = |name: &str| {
                text.lines()
                    .find_map(|line| {
                        line.strip_prefix("#define TORCH_VERSION_")?
                            .strip_prefix(name)
                    })
                    .map(str::trim)
            };
            match (number("MAJOR"), number("MINOR")) {
                (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
                _ => Err(format!("{} names no TORCH_VERSION", header.display())),
            }
        });
    let hint =
        "run `cargo xtask libtorch`, or let LIBTORCH name the folder `torch` of a PyTorch 2.11.0";
    match found {
        Ok(version) if version == TORCH => Ok(()),
        Ok(version) => Err(format!(
            "{} is PyTorch {version}, expected {TORCH}: {hint}",
            torch.display()
        )),
        Err(problem) => Err(format!("no libtorch: {problem}; {hint}")),
    }
}
