//! The real-time clock and its CMOS memory (MC146818), at ports 0x70 and 0x71.
//!
//! A kernel that finds all bits set here takes it for an update in progress and reads on for seconds; so
//! the clock answers properly, in UTC and BCD.

use crate::{BadState, Stateful};
use machine::{BusDevice, Effect};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock.
#[derive(Default)]
pub struct Cmos {
    index: u8,
}

impl Cmos {
    fn register(&self, now: u64) -> u8 {
        let (year, month, day) = date(now / 86_400);
        let bcd = |value: u64| (((value / 10 % 10) << 4) | (value % 10)) as u8;
        match self.index {
            0x00 => bcd(now % 60),
            0x02 => bcd(now / 60 % 60),
            0x04 => bcd(now / 3600 % 24),
            0x06 => ((now / 86_400 + 4) % 7 + 1) as u8,
            0x07 => bcd(day),
            0x08 => bcd(month),
            0x09 => bcd(year % 100),
            0x32 => bcd(year / 100),
            0x0a => 0x26, // 32768 Hz, no update in progress
            0x0b => 0x02, // 24 hours, BCD
            0x0d => 0x80, // battery good
            _ => 0,
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian).
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day at the end.
    let days = days + 719_468;
    let era_day = days % 146_097;
    let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let day = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (civil, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (days / 146_097 * 400 + year + carry, civil, day - (153 * month + 2) / 5 + 1)
}

impl BusDevice for Cmos {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (1, Some(first)) = (offset, data.first_mut()) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            *first = self.register(now.as_secs());
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if let (0, Some(first)) = (offset, data.first()) {
            // Bit 7 masks the NMI and is no part of the index.
            self.index = first & 0x7f;
        }
        Effect::None
    }
}

/// The register that was chosen; the time itself is always the host's.
impl Stateful for Cmos {
    type State = u8;

    fn state(&self) -> u8 {
        self.index
    }

    fn set_state(&mut self, index: u8) -> Result<(), BadState> {
        self.index = index;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn the_chosen_register_is_kept() {
        let (mut one, mut two) = (Cmos::default(), Cmos::default());
        let _ = one.write(0, &[0x8d]);
        two.restore(&one.save()).unwrap();
        let mut byte = [0];
        two.read(1, &mut byte);
        assert_eq!(byte, [0x80]);
        assert_eq!(two.restore(&[]), Err(BadState));
        assert_eq!(two.restore(&[1, 2]), Err(BadState));
    }

    #[test]
    fn a_leap_day_reads_as_such() {
        // 2024-02-29 23:59:58 UTC, a Thursday.
        let registers = [0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00];
        let read = registers.map(|index| Cmos { index }.register(1_709_251_198));
        assert_eq!(read, [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58]);
    }

    #[test]
    fn dates_around_the_turn_of_years() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(364), (1970, 12, 31));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1));
    }
}
