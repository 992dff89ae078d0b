//! Operands of a plan made into arguments of a call, once the values that they name are known.

use crate::output::Output;
use plan::{
    Bind, Data, Operand, Source,
    result::{captured, number},
};
use protocol::Arg;
use std::collections::BTreeMap;

/// The values that steps have bound to names so far, or why a name has none. Wide enough for every
/// integer of a guest, signed or not.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, Named>);

struct Named {
    value: Result<i128, String>,
    of_process: bool,
}

/// What a step's main op brought, as far as names can be bound to it.
pub(super) enum Product<'a> {
    Call { value: i64, data: &'a [Vec<u8>] },
    Program { code: i32, stdout: &'a Output },
    Nothing,
}

impl Names {
    /// Binds what a step says. `step` counts from 0.
    pub(super) fn bind(&mut self, step: usize, binds: &[Bind], product: &Product) {
        for bind in binds {
            let value = value_of(&bind.from, product)
                .map_err(|why| format!("`${}` has no value, because step {} {why}", bind.name, step + 1));
            self.0.insert(bind.name.clone(), Named { value, of_process: bind.of_process });
        }
    }

    /// The process that made the calls is gone, and with it what its names stood for. `step` counts from 0.
    pub(super) fn process_ended(&mut self, step: usize) {
        for (name, named) in self.0.iter_mut().filter(|(_, named)| named.of_process && named.value.is_ok()) {
            let why = format!("the process that it belonged to ended in step {}", step + 1);
            named.value = Err(format!("`${name}` has no value any more: {why}"));
        }
    }

    fn get(&self, name: &str) -> Result<i128, String> {
        self.0.get(name).map_or_else(|| Err(format!("`${name}` has no value")), |named| named.value.clone())
    }

    /// Replaces each `${name}`.
    pub(super) fn fill(&self, text: &str) -> Result<String, String> {
        let filled = Data::of_text(text).filled(|name| self.get(name))?.into_owned();
        // Digits for names: what was UTF-8 stays it.
        Ok(String::from_utf8_lossy(&filled).into_owned())
    }

    /// The same in data.
    pub(super) fn fill_data(&self, data: &Data) -> Result<Vec<u8>, String> {
        Ok(data.filled(|name| self.get(name))?.into_owned())
    }

    /// The argument that an operand stands for. `results` holds what this step's ops returned so far.
    ///
    /// # Errors
    /// Why there is none, for the step that is skipped for it.
    pub(super) fn argument(&self, operand: &Operand, results: &[Option<i64>]) -> Result<Arg, String> {
        Ok(match operand {
            Operand::Text(text) => {
                let mut bytes = self.fill(text)?.into_bytes();
                bytes.push(0);
                Arg::In(bytes)
            }
            Operand::In(bytes) => Arg::In(bytes.clone()),
            Operand::Out(length) => Arg::Out(*length),
            Operand::InOut(bytes) => Arg::InOut(bytes.clone()),
            Operand::Data(data) => Arg::In(self.fill_data(data)?),
            Operand::PollFd(fd, events) => {
                let fd = (self.number(fd, results)? as u32).to_le_bytes();
                let [low, high] = events.to_le_bytes();
                Arg::InOut([&fd[..], &[low, high, 0, 0]].concat())
            }
            Operand::NamedIn(name, size) => Arg::In(self.integer(name, *size)?),
            Operand::NamedInOut(name, size) => Arg::InOut(self.integer(name, *size)?),
            _ => Arg::Int(self.number(operand, results)?),
        })
    }

    /// A value as it lies in memory.
    fn integer(&self, name: &str, size: u8) -> Result<Vec<u8>, String> {
        match size {
            1 | 2 | 4 | 8 => Ok(self.get(name)?.to_le_bytes()[..usize::from(size)].to_vec()),
            _ => Err(format!("there are no integers of {size} bytes")),
        }
    }

    fn number(&self, operand: &Operand, results: &[Option<i64>]) -> Result<u64, String> {
        match operand {
            Operand::Int(value) => Ok(*value),
            // Two's complement is what a register holds.
            Operand::Named(name) => Ok(self.get(name)? as u64),
            Operand::Length(data) => Ok(self.fill_data(data)?.len() as u64),
            Operand::Op(index) => match results.get(*index) {
                Some(Some(value)) => Ok(*value as u64),
                _ => Err(format!("operation {} of this step returned nothing", index + 1)),
            },
            Operand::Device(major, minor) => {
                device(self.number(major, results)?, self.number(minor, results)?)
            }
            _ => Err("a pointer can't be part of a device number".to_owned()),
        }
    }
}

/// The kernel's 32-bit `dev_t` of user space: 12 bits of major, 20 of minor, the minor's low byte
/// lowest (`new_encode_dev` in include/linux/kdev_t.h).
fn device(major: u64, minor: u64) -> Result<u64, String> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(format!(
            "there is no device {major}:{minor} (a major is below 4096, a minor below 1048576)"
        ));
    }
    Ok((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

fn value_of(source: &Source, product: &Product) -> Result<i128, String> {
    match product {
        Product::Call { value, .. } if (-4095..0).contains(value) => {
            Err(format!("returned errno {}", -value))
        }
        Product::Program { code, .. } if *code != 0 => Err(format!("exited with {code}")),
        Product::Nothing => Err("did not return".to_owned()),
        Product::Call { value, data } => match source {
            Source::Value => Ok(i128::from(*value)),
            Source::Data { index, int } => data
                .get(*index)
                .and_then(|bytes| int.decode(bytes))
                .ok_or("brought no such integer".to_owned()),
            // What is looked at is the first buffer, as by who judges it.
            Source::Match(pattern) => find(pattern, data.first().map(Vec::as_slice).into_iter()),
            Source::Read(pattern) => {
                let read = usize::try_from(*value).unwrap_or(0);
                // The guest may say more than there is.
                find(pattern, data.first().map(|data| &data[..read.min(data.len())]).into_iter())
            }
        },
        Product::Program { code, stdout } => match source {
            Source::Value => Ok(i128::from(*code)),
            Source::Data { .. } => Err("ran a program, which has no buffers".to_owned()),
            Source::Match(pattern) | Source::Read(pattern) => {
                find(pattern, [stdout.head(), stdout.tail()].into_iter())
            }
        },
    }
}

fn find<'a>(pattern: &str, places: impl Iterator<Item = &'a [u8]>) -> Result<i128, String> {
    let regex = regex::Regex::new(pattern).map_err(|_| "has a pattern that is none".to_owned())?;
    let text = captured(&regex, places).ok_or_else(|| format!("shows nothing that matches `{pattern}`"))?;
    number(&text).ok_or_else(|| format!("shows `{text}`, which is no integer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Int;

    fn bound(from: Source, product: &Product) -> Result<i128, String> {
        let mut names = Names::default();
        names.bind(4, &[Bind { name: "x".into(), from, of_process: false }], product);
        names.get("x")
    }

    #[test]
    fn device_numbers_are_encoded_as_the_kernel_decodes_them() {
        let decode = |dev: u64| ((dev & 0xf_ff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xf_ff00));
        for (major, minor) in [(0, 0), (5, 1), (240, 3), (4095, 1_048_575), (511, 256)] {
            assert_eq!(decode(device(major, minor).unwrap()), (major, minor));
        }
        assert_eq!(device(5, 1).unwrap(), 0x501);
        assert!(device(4096, 0).unwrap_err().contains("4096:0"));
        assert!(device(0, 1 << 20).is_err());
    }

    #[test]
    fn names_fill_texts_and_registers() {
        let mut names = Names::default();
        let bind = Bind { name: "n".into(), from: Source::Value, of_process: true };
        names.bind(0, &[bind], &Product::Call { value: 7, data: &[] });
        assert_eq!(names.fill("/dev/x${n}/${n}$ ${").unwrap(), "/dev/x7/7$ ${");
        let data = Data::of_text("n=${n}");
        assert_eq!(names.argument(&Operand::Data(data.clone()), &[]).unwrap(), Arg::In(b"n=7".to_vec()));
        assert_eq!(names.argument(&Operand::Length(data), &[]).unwrap(), Arg::Int(3));
        assert!(names.argument(&Operand::Data(Data::of_text("${m}")), &[]).unwrap_err().contains("`$m`"));
        assert_eq!(names.argument(&Operand::Named("n".into()), &[]).unwrap(), Arg::Int(7));
        assert_eq!(
            names.argument(&Operand::NamedInOut("n".into(), 4), &[]).unwrap(),
            Arg::InOut(vec![7, 0, 0, 0])
        );
        assert_eq!(names.argument(&Operand::NamedIn("n".into(), 2), &[]).unwrap(), Arg::In(vec![7, 0]));
        assert_eq!(names.argument(&Operand::Text("a".into()), &[]).unwrap(), Arg::In(b"a\0".to_vec()));
        assert!(names.argument(&Operand::NamedIn("n".into(), 3), &[]).is_err());
        assert!(names.fill("${m}").unwrap_err().contains("`$m`"));
        let polled = Operand::PollFd(Box::new(Operand::Named("n".into())), 0x2001);
        assert_eq!(names.argument(&polled, &[]).unwrap(), Arg::InOut(vec![7, 0, 0, 0, 0x01, 0x20, 0, 0]));
        let dev = Operand::Device(Box::new(Operand::Named("n".into())), Box::new(Operand::Op(0)));
        assert_eq!(names.argument(&dev, &[Some(2)]).unwrap(), Arg::Int(0x702));
        assert!(names.argument(&dev, &[None]).is_err());
    }

    #[test]
    fn a_failed_step_binds_nothing_and_later_steps_hear_why() {
        let why = bound(Source::Value, &Product::Call { value: -2, data: &[] }).unwrap_err();
        assert_eq!(why, "`$x` has no value, because step 5 returned errno 2");
        assert!(bound(Source::Value, &Product::Nothing).is_err());
        let program = Product::Program { code: 1, stdout: &"5".into() };
        assert!(bound(Source::Match("(5)".into()), &program).is_err());
        // Only the range of errnos is a failure: mmap returns addresses that are negative as integers.
        assert_eq!(bound(Source::Value, &Product::Call { value: -5000, data: &[] }), Ok(-5000));
    }

    #[test]
    fn a_process_takes_its_descriptors_with_it() {
        let mut names = Names::default();
        for (name, of_process) in [("fd", true), ("n", false)] {
            let bind = Bind { name: name.into(), from: Source::Value, of_process };
            names.bind(0, &[bind], &Product::Call { value: 3, data: &[] });
        }
        names.process_ended(2);
        assert_eq!(names.get("n"), Ok(3));
        let why = "`$fd` has no value any more: the process that it belonged to ended in step 3";
        assert_eq!(names.get("fd"), Err(why.to_owned()));
        // The first end is the one that counts, and a new value is one.
        names.process_ended(4);
        assert_eq!(names.get("fd"), Err(why.to_owned()));
        let bind = Bind { name: "fd".into(), from: Source::Value, of_process: true };
        names.bind(5, &[bind], &Product::Call { value: 4, data: &[] });
        assert_eq!(names.get("fd"), Ok(4));
    }

    #[test]
    fn what_a_read_did_not_fill_is_no_text() {
        let data = [b"id=42\0\0\0".to_vec()];
        let read =
            |value, pattern: &str| bound(Source::Read(pattern.into()), &Product::Call { value, data: &data });
        for pattern in [r"id=(\S+)", r"id=(\d+)$"] {
            assert_eq!(read(5, pattern), Ok(42), "{pattern}");
            assert_eq!(read(4, pattern), Ok(4), "{pattern}");
        }
        assert!(read(0, r"(\d+)").is_err());
        assert!(read(i64::MAX, r"id=(\S+)").is_err(), "more than there is, as no kernel says");
    }

    #[test]
    fn integers_come_from_buffers_and_from_text() {
        let data = [vec![0xfe, 0xff, 0xff, 0xff]];
        let product = Product::Call { value: 0, data: &data };
        let int = |size, signed| Source::Data { index: 0, int: Int { size, signed } };
        assert_eq!(bound(int(4, true), &product), Ok(-2));
        assert_eq!(bound(int(4, false), &product), Ok(0xffff_fffe));
        assert_eq!(bound(int(2, true), &product), Ok(-2));
        assert!(bound(int(8, true), &product).is_err());
        assert!(bound(int(3, true), &product).is_err());
        let data = [b"12 rtc\n240 chardev\nat -0x10".to_vec(), b"1 other".to_vec()];
        let product = Product::Call { value: 0, data: &data };
        assert_eq!(bound(Source::Match(r"(\d+) chardev".into()), &product), Ok(240));
        assert!(bound(Source::Match(r"(\d+) other".into()), &product).is_err());
        assert_eq!(bound(Source::Match(r"at (\S+)".into()), &product), Ok(-16));
        assert!(bound(Source::Match(r"(rtc)".into()), &product).unwrap_err().contains("`rtc`"));
        assert!(bound(Source::Match(r"(\d+) nosuch".into()), &product).is_err());
    }
}
