//! Durations and sizes as people write them.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const BYTE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Splits `text` into its leading number and its leading unit.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start_matches(' ');
    let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
    Some((number, &after[..letters], &after[letters..]))
}

/// Reads `"500ms"`, `"10s"`, `"1h30m"`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let mistake = || format!("{text:?} is not a length of time");
    let (mut rest, mut millis) = (text.trim(), 0_u64);
    if rest.is_empty() {
        return Err(mistake());
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(mistake)?;
        let (_, unit_millis) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(mistake)?;
        millis = number
            .checked_mul(*unit_millis)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long a time"))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration as it would be written in a settings file.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    for (unit, unit_millis) in DURATION_UNITS.into_iter().skip(1) {
        if rest >= unit_millis {
            shown.push_str(&format!("{}{unit}", rest / unit_millis));
            rest %= unit_millis;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// Reads `"10MiB"`, `"20 GB"`, `"4096"`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let mistake = || format!("{text:?} is not a size in bytes");
    let (number, unit, after) = number_and_unit(text.trim()).ok_or_else(mistake)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, unit_bytes) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(mistake)?;
    if !after.is_empty() {
        return Err(mistake());
    }
    number.checked_mul(*unit_bytes).ok_or_else(|| format!("{text:?} is too large"))
}

/// Writes a size as it would be written in a settings file.
pub fn show_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS[..4].iter().rev().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((unit, size)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration(" 2 d "), Ok(Duration::from_secs(172_800)));
        for wrong in [
            "",
            "10",
            "s",
            "10 seconds",
            "-1s",
            "1.5s",
            "10s x",
            "99999999999999999999s",
            "9999999999999999w",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_bytes("10MiB"), Ok(10 << 20));
        assert_eq!(parse_bytes("20 GB"), Ok(20_000_000_000));
        assert_eq!(parse_bytes("7"), Ok(7));
        for wrong in ["", "MiB", "10mib", "10 MiB x", "99999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_bytes(10 << 30), "10GiB");
        assert_eq!(show_bytes(1000), "1000B");
    }

    proptest! {
        #[test]
        fn a_duration_is_read_back_as_it_was_shown(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in any::<String>()) {
            let _ = (parse_duration(&text), parse_bytes(&text));
        }
    }
}
