//! What the kernel counts: CPU time and memory of the server, and what else the machine does (proc(5)).

use std::fs;
use std::time::{Duration, Instant};

use crate::Fallible;

/// Kernel ticks per second (`getconf CLK_TCK`): 100 on all current Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;
/// Begins the names of linkseal's threads that deliver events.
const DELIVERY: &str = "delivery";

/// CPU seconds of processes, those of their ended threads included.
pub(crate) fn cpu_seconds<'a>(pids: impl IntoIterator<Item = &'a str>) -> Fallible<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15. Field 2, in parentheses, may contain spaces.
        let fields = stat.rsplit_once(") ").ok_or("unexpected format of /proc/PID/stat")?.1;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of the threads that deliver events. `None`: the server has no threads of that name.
pub(crate) fn delivery_seconds(pids: &[String]) -> Fallible<Option<f64>> {
    let mut sum = None;
    for pid in pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            // A thread that has ended meanwhile is not one of those that deliver: they live as long as the server.
            let (Ok(name), Ok(stat)) = (
                fs::read_to_string(thread.join("comm")),
                fs::read_to_string(thread.join("schedstat")),
            ) else {
                continue;
            };
            if name.starts_with(DELIVERY) {
                let nanoseconds: u64 = stat.split(' ').next().unwrap_or_default().parse()?;
                sum = Some(sum.unwrap_or(0.0) + nanoseconds as f64 / 1e9);
            }
        }
    }
    Ok(sum)
}

/// Memory of processes in KiB as proportional set size, which counts shared pages once.
pub(crate) fn pss_kib(pids: &[String]) -> Fallible<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).ok_or("no Pss")?;
        sum += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(sum)
}

/// The machine's CPU time since its start.
pub(crate) struct Machine {
    at: Instant,
    busy: f64,
    steal: f64,
}

/// What the machine did during a time, in cores: 0.5 is half a core.
pub(crate) struct During {
    pub(crate) busy: f64,
    pub(crate) steal: f64,
    pub(crate) time: Duration,
}

impl Machine {
    pub(crate) fn read() -> Fallible<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().ok_or("/proc/stat is empty")?;
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = *ticks.as_slice() else {
            return Err("unexpected format of /proc/stat".into());
        };
        Ok(Self {
            at: Instant::now(),
            busy: (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND,
            steal: steal / TICKS_PER_SECOND,
        })
    }

    pub(crate) fn since(&self, before: &Self) -> During {
        let time = self.at - before.at;
        During {
            busy: (self.busy - before.busy) / time.as_secs_f64(),
            steal: (self.steal - before.steal) / time.as_secs_f64(),
            time,
        }
    }
}
