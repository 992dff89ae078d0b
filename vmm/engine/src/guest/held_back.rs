//! Events that are told once the guest is known to run. Of a guest that floods its console or its log instead of answering there
//! may be any number, and what was told in parts would be judged in parts: it is given up instead.

use crate::event::Event;
use std::mem::{size_of, size_of_val};

/// So many bytes of them, at least. What a machine tells again that was saved is some ten KiB, and a tenth of this at the most.
const ROOM: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Events that wait.
#[derive(Default)]
pub(super) struct HeldBack {
    events: Vec<Event>,
    size: usize,
}

impl HeldBack {
    pub(super) fn push(&mut self, event: Event) {
        match (self.events.last_mut(), event) {
            // What goes through a serial port comes byte by byte.
            (Some(Event::Console(before)), Event::Console(bytes)) => {
                self.size += bytes.len();
                before.extend(bytes);
            }
            (_, event) => {
                self.size += size_of::<Event>() + content(&event);
                self.events.push(event);
            }
        }
    }

    /// Why no more are held back, once there are too many.
    pub(super) fn overflow(&self) -> Option<String> {
        let why = || format!("its guest says more than {} MiB before it answers", ROOM >> 20);
        (self.size > ROOM).then(why)
    }

    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }
}

/// The bytes that an event has elsewhere, for those that a guest makes as often as it likes.
fn content(event: &Event) -> usize {
    match event {
        Event::Console(bytes) => bytes.len(),
        Event::Log(record) => record.text.len(),
        Event::Call(call) => {
            size_of_val(&**call) + call.memory.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
        }
        Event::Symbols(symbols) => {
            symbols.values().map(|symbol| size_of::<(u64, String)>() + symbol.len()).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::LogRecord;
    use std::time::Duration;

    #[test]
    fn a_boot_through_the_serial_port_has_room_and_lines_without_end_have_not() {
        let mut held = HeldBack::default();
        (0..100_000).for_each(|_| held.push(Event::Console(vec![b'x'])));
        assert_eq!(held.overflow(), None);
        let line = |seq| LogRecord {
            seq,
            time: Duration::ZERO,
            level: 6,
            user: false,
            caller: None,
            text: String::new(),
        };
        let most = (0..ROOM as u64).find(|seq| {
            held.push(Event::Log(line(*seq)));
            held.overflow().is_some()
        });
        assert!(most.is_some_and(|lines| lines as usize * size_of::<Event>() < ROOM), "{most:?}");
        let events = held.into_events();
        assert!(matches!(&events[..2], [Event::Console(bytes), Event::Log(_)] if bytes.len() == 100_000));
    }
}
