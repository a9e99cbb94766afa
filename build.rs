//! Makes known to the crate which Python it is built for (`cfg(Py_3_…)` in `src/binding`), and how.

fn main() {
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();

    // `maturin build --pgo` adds `-Cprofile-use=…` to the compiler's flags. How the extension was
    // made goes into it, so that what is measured of one build is never taken for another's.
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let guided = flags.contains("profile-use");
    let optimised = std::env::var("OPT_LEVEL").is_ok_and(|level| level == "3");
    let build = match (guided, optimised) {
        (true, _) => "profile-guided",
        (false, true) => "plain",
        (false, false) => "quick",
    };
    println!("cargo:rustc-env=DEFERROUS_BUILD={build}");

    // Since Rust 1.90, LLD links here. It packs the code where its address is not its place in the
    // file, and profilers such as py-spy, which take the two for the same, cannot find their way
    // through our frames. With pages of its own, the code is where they look for it. (Zig, which may
    // link a release's wheels, knows no such option.)
    let target = std::env::var("TARGET").unwrap_or_default();
    let by_zig = std::env::var("RUSTC_LINKER").is_ok_and(|linker| linker.contains("zig"));
    if target == "x86_64-unknown-linux-gnu" && !by_zig {
        println!("cargo:rustc-link-arg-cdylib=-Wl,-z,separate-code");
    }
}
