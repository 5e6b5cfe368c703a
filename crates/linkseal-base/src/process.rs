//! The `process_*` metrics, read from /proc/self at each scrape (proc(5)). A metric that cannot be read
//! keeps its last value.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Clock ticks per second in /proc/self/stat: USER_HZ, 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Collects the `process_*` family.
pub(super) struct ProcessCollector {
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    virtual_bytes: Gauge,
    resident_bytes: Gauge,
    start_time: Gauge,
    threads: Gauge,
}

impl ProcessCollector {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let collector = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "User and system CPU time spent, in seconds.",
            )?,
            open_fds: Gauge::new("process_open_fds", "Open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "The limit of open file descriptors.")?,
            virtual_bytes: Gauge::new("process_virtual_memory_bytes", "Virtual memory, in bytes.")?,
            resident_bytes: Gauge::new("process_resident_memory_bytes", "Resident memory, in bytes.")?,
            start_time: Gauge::new(
                "process_start_time_seconds",
                "Start of the process, in seconds since the Unix epoch.",
            )?,
            threads: Gauge::new("process_threads", "Threads of the process.")?,
        };
        if let (Some(stat), Some(boot)) = (Stat::read(), boot_time()) {
            collector.start_time.set(boot + stat.started);
        }
        Ok(collector)
    }

    fn update(&self) {
        if let Some(stat) = Stat::read() {
            // A counter only goes up. Two scrapes at once may both add the same ticks; the next ones
            // then add none until the CPU time has caught up.
            let more = stat.cpu - self.cpu.get();
            if more > 0.0 {
                self.cpu.inc_by(more);
            }
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            let field = |name| field(&status, name);
            let set =
                |gauge: &Gauge, value: Option<f64>, unit: f64| value.into_iter().for_each(|v| gauge.set(v * unit));
            set(&self.virtual_bytes, field("VmSize:"), 1024.0);
            set(&self.resident_bytes, field("VmRSS:"), 1024.0);
            set(&self.threads, field("Threads:"), 1.0);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // Without the descriptor of this listing.
            self.open_fds.set(entries.count().saturating_sub(1) as f64);
        }
        if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
            // "unlimited" does not parse: the kernel then limits it to fs.nr_open.
            let nr_open = || fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok();
            if let Some(max) = field(&limits, "Max open files").or_else(nr_open) {
                self.max_fds.set(max);
            }
        }
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.open_fds,
            &self.max_fds,
            &self.virtual_bytes,
            &self.resident_bytes,
            &self.start_time,
            &self.threads,
        ]
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

/// The fields of /proc/self/stat that the metrics need.
struct Stat {
    /// User and system time, in seconds.
    cpu: f64,
    /// Start, in seconds after boot.
    started: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the command in parentheses, which may hold spaces and parentheses.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        // Fields are counted from 1 in proc(5); `rest` begins with the third.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let (user, system, started) = (ticks(14)?, ticks(15)?, ticks(22)?);
        Some(Self {
            cpu: (user + system) / TICKS_PER_SECOND,
            started: started / TICKS_PER_SECOND,
        })
    }
}

/// Boot time of the machine, in seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    field(&fs::read_to_string("/proc/stat").ok()?, "btime")
}

/// The number that follows a name at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_is_skipped() {
        let stat = "7 (a) b ( c) S 1 2 3 4 5 6 7 8 9 10 250 150 13 14 15 16 17 18 4200 20\n";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.cpu, stat.started), (4.0, 42.0));
        assert!(Stat::parse("7 (a) S").is_none());
    }
}
