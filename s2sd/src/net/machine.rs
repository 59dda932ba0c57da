//! How much memory the machine has, or the part of it that this process may use: `/proc/meminfo` and the limits of
//! control groups (cgroup v2 `memory.max`, v1 `memory.limit_in_bytes`), whichever is least.

use std::fs;
use std::path::{Path, PathBuf};

/// If nothing can be found out.
const UNKNOWN: usize = 1 << 30;

/// The memory that there is for this process, in bytes.
pub(crate) fn memory() -> usize {
    memory_below(Path::new("/")).unwrap_or(UNKNOWN)
}

fn memory_below(root: &Path) -> Option<usize> {
    let installed = fs::read_to_string(root.join("proc/meminfo")).ok();
    let installed = installed.and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib = line.trim().strip_suffix("kB")?.trim_end();
        kib.parse::<usize>().ok()?.checked_mul(1024)
    });
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits(root, line));
    limits.chain(installed).min()
}

/// What a group and those around it allow. The line is as in cgroups(7): `0::/path` or `4:memory:/path`.
fn limits(root: &Path, line: &str) -> Vec<usize> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
    else {
        return Vec::new();
    };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    let group = mount.join(path.trim_start_matches('/'));
    let around: Vec<PathBuf> = group
        .ancestors()
        .take_while(|directory| directory.starts_with(&mount))
        .map(|directory| directory.join(file))
        .collect();
    // "max" is no limit.
    let read = |path: &PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
    around.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        4000 kB\nMemFree:          10 kB\n";

    #[track_caller]
    fn check(files: &[(&str, &str)], want: Option<usize>) {
        let name = format!("s2sd-machine-{}-{}", std::process::id(), line!());
        let caller = std::panic::Location::caller().line();
        let root = std::env::temp_dir().join(format!("{name}-{caller}"));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = memory_below(&root);
        let _ = fs::remove_dir_all(&root);
        assert_eq!(found, want);
    }

    #[test]
    fn the_least_of_the_machine_and_its_groups_counts() {
        check(&[], None);
        check(&[("proc/meminfo", MEMINFO)], Some(4_096_000));
        let v2 = |files: &[(&str, &str)], want| {
            let group = [
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "0::/system.slice/s2sd.service\n"),
            ];
            check(&[&group, files].concat(), Some(want));
        };
        let own = "sys/fs/cgroup/system.slice/s2sd.service/memory.max";
        let around = "sys/fs/cgroup/system.slice/memory.max";
        v2(&[(own, "max\n")], 4_096_000);
        v2(&[(own, "1000000\n")], 1_000_000);
        v2(&[(own, "max\n"), (around, "2000000\n")], 2_000_000);
        v2(&[(own, "9000000\n"), (around, "max\n")], 4_096_000);
        // Within a container the group's own limit is at the top.
        v2(&[("sys/fs/cgroup/memory.max", "500000\n")], 500_000);
        check(
            &[
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "5:cpu:/a\n4:memory:/a\n0::/\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "700000\n"),
                ("sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "1\n"),
            ],
            Some(700_000),
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory() > 1 << 20);
    }
}
