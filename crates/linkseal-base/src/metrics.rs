//! The registry of metrics behind `/metrics`. Each module registers its own; those of the process as a
//! whole are registered here.

use prometheus::{IntGauge, Opts, Registry, TextEncoder};

use super::process::ProcessCollector;

/// The commit of this build, as `LINKSEAL_COMMIT` gave it at compile time.
const COMMIT: &str = match option_env!("LINKSEAL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The metrics of one process. Clones share the same registry.
#[derive(Clone, Debug)]
pub struct MetricsHub {
    registry: Registry,
}

impl MetricsHub {
    /// A registry with `linkseal_build_info` and the `process_*` family.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let about = Opts::new("linkseal_build_info", "Version and commit of this build; always 1.");
        let about = about
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("commit", COMMIT);
        let build = IntGauge::with_opts(about)?;
        build.set(1);
        registry.register(Box::new(build))?;
        registry.register(Box::new(ProcessCollector::new()?))?;
        Ok(Self { registry })
    }

    /// For modules to register their metrics with.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All metrics in Prometheus' text format 0.0.4; its content type is [`MetricsHub::CONTENT_TYPE`].
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// The content type of [`MetricsHub::encode`]'s text.
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_and_process_metrics_are_exposed() {
        let text = MetricsHub::new().unwrap().encode().unwrap();
        assert!(
            text.contains("version=\"0.1.0\"} 1") && text.contains("linkseal_build_info{commit="),
            "{text}"
        );
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|l| l.starts_with(&format!("{name} ")))
                .unwrap_or_else(|| panic!("{name}: {text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        for name in ["process_open_fds", "process_max_fds", "process_threads"] {
            assert!(value(name) >= 1.0, "{name}");
        }
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        // In 2020 or later, and not in the future.
        let started = value("process_start_time_seconds");
        let now = crate::clock::Clock::system().now().as_secs() as f64;
        assert!(started > 1_577_836_800.0 && started <= now + 1.0, "{started}");
        assert!(value("process_cpu_seconds_total") < now - started + 1000.0);
    }
}
