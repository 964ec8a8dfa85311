//! Compiles the NCCL plugin where its headers are, and says why not where they are not.
//!
//! The crate itself builds everywhere: `NCCL_PLUGIN` is the path of the plugin made here, `NCCL_PLUGIN_MISSING` the reason why
//! there is none (exactly one of them is set).

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As in crates/collective/build.rs, and NCCL; they decide class layouts.
const DEFINES: [&str; 5] = [
    "USE_DISTRIBUTED",
    "USE_C10D_GLOO",
    "USE_C10D_NCCL",
    "USE_RPC",
    "USE_TENSORPIPE",
];

/// A header of each package that libtorch's CUDA headers need, and the package.
const HEADERS: [(&str, &str); 7] = [
    ("nccl.h", "nvidia-nccl-cu13"),
    ("cuda_runtime.h", "nvidia-cuda-runtime"),
    ("crt/host_config.h", "nvidia-cuda-crt"),
    ("nv/target", "nvidia-cuda-cccl"),
    ("cublas_v2.h", "nvidia-cublas"),
    ("cusolverDn.h", "nvidia-cusolver"),
    ("cusparse.h", "nvidia-cusparse"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=plugin");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let lib = PathBuf::from(env::var("DEP_TUTTI_SHIM_LIBTORCH_LIB")?);
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    match includes(&lib) {
        Ok(includes) => {
            let plugin = compile(&lib, &includes)?;
            println!("cargo::rustc-env=NCCL_PLUGIN={}", plugin.display());
        }
        Err(why) => println!("cargo::rustc-env=NCCL_PLUGIN_MISSING={why}"),
    }
    Ok(())
}

/// The folders with the headers, or what is missing.
fn includes(lib: &Path) -> Result<Vec<PathBuf>, String> {
    let cuda = lib.join("libtorch_cuda.so");
    let nvidia = lib.join("../../nvidia");
    // Fetching the packages later compiles the plugin then. Folders, because a file that is missing would make cargo run
    // this script, and build all that depends on it, every time.
    for folder in [lib, &nvidia] {
        if folder.exists() {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
    }
    if !cuda.exists() {
        return Err(format!("{} was not found", cuda.display()));
    }
    let mut folders = vec![nvidia.join("nccl/include"), nvidia.join("cu13/include")];
    if let Some(home) = env::var_os("CUDA_HOME") {
        folders.push(Path::new(&home).join("include"));
    }
    folders.push("/usr/local/cuda/include".into());
    // Only a look: the compiler searches it by itself, and must not do so any earlier.
    let system = PathBuf::from("/usr/include");
    for (header, package) in HEADERS {
        if !folders
            .iter()
            .chain([&system])
            .any(|folder| folder.join(header).exists())
        {
            return Err(format!(
                "the header {header} (package {package}) was not found in {} or /usr/local/cuda",
                nvidia.display()
            ));
        }
    }
    folders.retain(|folder| folder.exists());
    Ok(folders)
}

/// cc makes static libraries only, so it compiles and the compiler links.
fn compile(lib: &Path, includes: &[PathBuf]) -> Result<PathBuf, Box<dyn Error>> {
    let torch = lib.parent().ok_or("libtorch has no folder")?;
    let shim = env::var("DEP_TUTTI_SHIM_INCLUDE")?;
    println!("cargo::rerun-if-changed={shim}");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .debug(false)
        .pic(true)
        .include(shim)
        .flag("-Wno-unused-parameter");
    for folder in includes.iter().cloned().chain([
        torch.join("include"),
        torch.join("include/torch/csrc/api/include"),
    ]) {
        build.flag("-isystem").flag(folder);
    }
    for define in DEFINES {
        build.define(define, None);
    }
    let objects = build.file("plugin/nccl.cpp").try_compile_intermediates()?;

    let plugin = PathBuf::from(env::var("OUT_DIR")?).join("libtutti_nccl.so");
    let mut link = Command::new(build.try_get_compiler()?.path());
    link.arg("-shared")
        .arg("-o")
        .arg(&plugin)
        .args(objects)
        .arg("-L")
        .arg(lib)
        // Nothing of libtorch_cuda may be dropped as unused: bringing it in is the point.
        .arg("-Wl,--no-as-needed")
        .args(["-ltorch_cuda", "-lc10_cuda", "-ltorch_cpu", "-lc10"])
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        // An installed layout: bin/ beside lib/torch/lib/.
        .arg("-Wl,-rpath,$ORIGIN/../lib/torch/lib")
        // The wheels of the CUDA libraries are found through libtorch_cuda's own search path, at run time.
        .arg("-Wl,--allow-shlib-undefined");
    let status = link.status()?;
    if !status.success() {
        return Err(format!("linking the NCCL plugin: {link:?} ended with {status}").into());
    }
    Ok(plugin)
}
