//! Sizes, durations and ages as people read them, and text from elsewhere made safe for a terminal.

use jiff::Timestamp;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// `0 B`, `980 B`, `1.2 GiB`: three digits at least where there are as many.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{bytes} B"),
        (_, value) if value < 99.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `8 s`, `1 min 12 s`, `3 h 5 min`, `2 d 4 h`.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min {} s", seconds % 60),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// A time on the wire; `None` when it is not set.
pub fn time(micros: i64) -> Option<Timestamp> {
    (micros != 0)
        .then(|| Timestamp::from_microsecond(micros).ok())
        .flatten()
}

/// `3 min ago`, `2 d ago`, `in 5 h`, `just now`; `-` when not set.
pub fn age(micros: i64, now: Timestamp) -> String {
    let Some(at) = time(micros) else {
        return "-".into();
    };
    let seconds = now.duration_since(at).as_secs();
    match (seconds, seconds.unsigned_abs()) {
        (_, 0..5) => "just now".into(),
        (1.., past) => format!("{} ago", rough(past)),
        (_, future) => format!("in {}", rough(future)),
    }
}

/// The largest unit alone.
fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2026-07-01 12:00:05 UTC`; `-` when not set.
pub fn moment(micros: i64) -> String {
    time(micros).map_or("-".into(), |at| {
        at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    })
}

/// What a part is of a whole, in percent; `-` of nothing.
pub fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".into(),
        _ => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

/// `1 table`, `3 tables`.
pub fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// The first eight digits of a snapshot's id; of a run's the first thirteen, which hold its time (uuid v7) and are unique
/// unless two were made in one millisecond.
pub fn short(id: &str) -> &str {
    let length = if id.contains('-') { 13 } else { 8 };
    id.get(..length).unwrap_or(id)
}

/// Text that came from elsewhere cannot steer the terminal: control characters are shown as `\u{..}`.
pub fn clean(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => safe.push(' '),
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (250 << 20, "250 MiB"),
            (u64::MAX, "16384 PiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_and_ages_name_what_matters() {
        assert_eq!(duration(8), "8 s");
        assert_eq!(duration(72), "1 min 12 s");
        assert_eq!(duration(3 * 3600 + 300), "3 h 5 min");
        assert_eq!(duration(2 * 86_400 + 4 * 3600), "2 d 4 h");
        let now = Timestamp::from_second(1_000_000).expect("valid");
        let at = |seconds: i64| age((1_000_000 + seconds) * 1_000_000, now);
        assert_eq!(at(0), "just now");
        assert_eq!(at(-180), "3 min ago");
        assert_eq!(at(-3 * 86_400), "3 d ago");
        assert_eq!(at(7200), "in 2 h");
        assert_eq!(age(0, now), "-");
        assert_eq!(age(i64::MAX, now), "-");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(clean("größe"), "größe");
    }
}
