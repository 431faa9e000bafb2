//! What this process costs its host: memory and processor time, read from /proc when a collector's turn comes.
//! Names and units follow OpenTelemetry's semantic conventions for process metrics.

use opentelemetry::metrics::Meter;

/// Observes `process.memory.usage` (bytes resident) and `process.cpu.time` (seconds, user and system).
pub fn observe(meter: &Meter) {
    let _memory = meter
        .u64_observable_gauge("process.memory.usage")
        .with_unit("By")
        .with_description("Resident memory of this process")
        .with_callback(|observer| {
            if let Some(bytes) = read("/proc/self/status", resident_bytes) {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    let _time = meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("Processor time of this process")
        .with_callback(|observer| {
            if let Some(seconds) = read("/proc/self/stat", processor_seconds) {
                observer.observe(seconds, &[]);
            }
        })
        .build();
}

fn read<T>(path: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    parse(&std::fs::read_to_string(path).ok()?)
}

/// A line such as `VmRSS: 12345 kB`, proc(5).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Kernel ticks a second as user space sees them: 100 on every architecture of Linux (USER_HZ, time(7)).
const TICKS_A_SECOND: f64 = 100.0;

/// Fields 14 (utime) and 15 (stime) of proc(5)'s stat, all threads together. The second field is the program's name
/// in parentheses and may hold anything, so counting starts behind the last one.
fn processor_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let bytes = read("/proc/self/status", resident_bytes).unwrap();
        assert!(bytes > 100 * 1024, "{bytes}");
        assert!(read("/proc/self/stat", processor_seconds).is_some());
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_shifts_nothing() {
        let stat = "1 (a ) b) S 1 1 1 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 1 0 1 1 1";
        assert_eq!(processor_seconds(stat), Some(4.0));
        assert_eq!(processor_seconds("nonsense"), None);
        assert_eq!(resident_bytes("VmRSS:\t 99999999999999999999 kB"), None);
    }
}
