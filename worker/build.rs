//! Lets the executable find libtorch: where it was built against, or beside an installed one.

fn main() {
    if let Ok(folder) = std::env::var("DEP_TUTTI_SHIM_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/torch/lib");
    println!("cargo::rerun-if-changed=build.rs");
}
