use std::fmt;

/// A number of bytes; `Display` is for a person: `512 B`, `1.5 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = UNITS[0];
        for larger in &UNITS[1..] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = larger;
        }
        write!(f, "{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_a_fitting_unit() {
        let said = [0, 1023, 1024, 1536, 3 << 20, 5 << 30, 7 << 40, u64::MAX]
            .map(|b| Bytes(b).to_string());
        assert_eq!(
            said,
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1.5 KiB",
                "3.0 MiB",
                "5.0 GiB",
                "7.0 TiB",
                "16777216.0 TiB"
            ]
        );
    }
}
