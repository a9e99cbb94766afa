//! Makes the version of the Python that is built for known to `src/binding` as `cfg(Py_3_…)`.

fn main() {
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
