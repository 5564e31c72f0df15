//! What a process has used so far, from `/proc`.

/// CPU and memory of one process.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system together, all threads.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_kib: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        // Clock ticks are hundredths of a second on every Linux there is.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process ended");
        // The name is in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields[index].parse::<f64>().expect("a number of ticks");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process ended");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kib = resident.and_then(|text| text.trim().split(' ').next()?.parse().ok());
        Self {
            cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
            resident_kib: resident_kib.expect("VmRSS in kB"),
        }
    }
}
