//! How much of the memory that this process may use is in use: the machine's, and that of its control
//! group (cgroups(7), version 2), whichever is shorter.

use std::fs;
use std::path::Path;

/// The share of memory in use, in percent. `None` if nothing can be read.
pub fn used_percent() -> Option<u8> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| of_machine(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let group = groups.and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        of_group(&Path::new("/sys/fs/cgroup").join(path))
    });
    machine.max(group)
}

/// From /proc/meminfo (proc_meminfo(5)).
fn of_machine(text: &str) -> Option<u8> {
    let (total, available) = (field(text, "MemTotal:")?, field(text, "MemAvailable:")?);
    percent(total.saturating_sub(available), total)
}

/// From the files of a control group. What the kernel can drop at once does not count.
fn of_group(group: &Path) -> Option<u8> {
    let read = |file| fs::read_to_string(group.join(file)).ok();
    // "max": there is no limit.
    let max: u64 = read("memory.max")?.trim().parse().ok()?;
    let current: u64 = read("memory.current")?.trim().parse().ok()?;
    let droppable = read("memory.stat").and_then(|text| field(&text, "inactive_file"));
    percent(current.saturating_sub(droppable.unwrap_or_default()), max)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn percent(used: u64, of: u64) -> Option<u8> {
    let share = used.saturating_mul(100).checked_div(of)?;
    Some(u8::try_from(share).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_can_still_give_counts() {
        let text = "MemTotal:       1000 kB\nMemFree:          50 kB\nMemAvailable:    250 kB\n";
        assert_eq!(of_machine(text), Some(75));
        assert_eq!(of_machine(""), None);
        assert!(used_percent().is_some_and(|used| used <= 100));
    }

    #[test]
    fn a_group_without_a_limit_has_no_share() {
        let group = std::env::temp_dir().join(format!("linkseal-memory-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let write = |file: &str, text: &str| fs::write(group.join(file), text).unwrap();
        write("memory.current", "960\n");
        write("memory.stat", "anon 700\nactive_file 60\ninactive_file 60\n");
        write("memory.max", "1000\n");
        assert_eq!(of_group(&group), Some(90));
        write("memory.max", "max\n");
        assert_eq!(of_group(&group), None);
        fs::remove_dir_all(group).unwrap();
    }
}
