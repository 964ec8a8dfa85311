//! Lets the executable find the libtorch that it was built against.

fn main() {
    if let Ok(folder) = std::env::var("DEP_TUTTI_SHIM_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
