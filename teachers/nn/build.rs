//! Lets what this package links (binary and tests) find its libtorch without LD_LIBRARY_PATH, and keeps CUDA linked.
//!
//! Shared by every package that links libtorch: link arguments do not pass from a library to what uses it.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by torch-sys for the packages that depend on it directly; absent without the `torch` feature.
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // For what writes down where it computed; a libtorch out of a Python package has no such file.
    let version = Path::new(&lib).with_file_name("build-version");
    if let Ok(version) = std::fs::read_to_string(&version) {
        println!("cargo:rustc-env=RETORT_LIBTORCH={}", version.trim());
    }
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        // Of the root package, `retort` itself stays without libtorch.
        let targets: &[&str] = match env::var("CARGO_PKG_NAME").as_deref() {
            Ok("retort") => &["rustc-link-arg-bin=retort-torch=", "rustc-link-arg-tests="],
            _ => &["rustc-link-arg="],
        };
        for target in targets {
            // Nothing refers to a symbol of libtorch_cuda, so the linker would drop it and CUDA would read as absent.
            println!("cargo:{target}-Wl,--no-as-needed");
            println!("cargo:{target}-ltorch_cuda");
        }
    }
}
