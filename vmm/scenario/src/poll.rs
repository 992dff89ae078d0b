//! `poll`: one descriptor, and the events that it is asked for.

use super::expect::Results;
use super::kinds::Parts;
use super::model::Action;
use super::node::Node;
use super::reader::{Fields, Reader};
use std::time::Duration;

/// The events by their names, those of C without POLL (include/uapi/asm-generic/poll.h).
pub const EVENTS: &[(&str, u16)] = &[
    ("in", 0x1),
    ("pri", 0x2),
    ("out", 0x4),
    ("err", 0x8),
    ("hup", 0x10),
    ("nval", 0x20),
    ("rdnorm", 0x40),
    ("rdband", 0x80),
    ("wrnorm", 0x100),
    ("wrband", 0x200),
    ("msg", 0x400),
    ("rdhup", 0x2000),
];

/// Events by their names, as in `in, hup`; those without a name are a number.
pub fn names(events: u16) -> String {
    let known = EVENTS.iter().filter(|(_, bit)| events & bit != 0);
    let rest = EVENTS.iter().fold(events, |rest, (_, bit)| rest & !bit);
    let names = known.map(|(name, _)| (*name).to_owned());
    let names: Vec<String> = names.chain((rest != 0).then(|| format!("{rest:#x}"))).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The events that a `struct pollfd` came back with (poll(2): `int fd; short events; short revents`).
pub fn came(pollfd: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(pollfd.get(6..8)?.try_into().ok()?))
}

/// The step.
pub fn read(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let fd = reader.num(value, "a descriptor");
    let events = fields.need(reader, "events").and_then(|node| reader.events(node));
    let time = match fields.take("for") {
        Some(node) => reader.duration(node, "`for`"),
        None => Some(Duration::ZERO),
    };
    let action = Action::Poll { fd: fd?, events: events?, time: time? };
    Some(Parts { action, results: Results::Events, names: Vec::new() })
}

impl Reader<'_> {
    /// Events that are asked for.
    fn events(&mut self, node: &Node) -> Option<u16> {
        let nodes = self.some_items(node, "a list of events like `[in, out]`")?;
        nodes.iter().try_fold(0, |events, node| Some(events | self.choice(node, "an event", EVENTS)?))
    }

    /// Events that should come: a list, or `none`.
    pub fn events_or_none(&mut self, node: &Node) -> Option<u16> {
        if node.text() == Some("none") { Some(0) } else { self.events(node) }
    }
}

#[cfg(test)]
mod tests {
    use super::{came, names};
    use crate::{
        fixture::{scenario, try_load},
        model::{Action, Num, Want},
    };
    use std::time::Duration;

    #[test]
    fn a_descriptor_is_asked_for_events_and_some_are_expected() {
        let steps = scenario(
            "steps:\n- {open: /x, as: fd}\n- {poll: $fd, events: [in, out], expect: {events: [out]}}\n\
             - {poll: 3, events: pri, for: 60 s, expect: {events: none, returns: 0}}\n- {poll: 3, events: [in], expect: 1}\n",
        )
        .steps;
        let Action::Poll { fd, events, time } = &steps[1].action else { panic!("no poll") };
        assert_eq!((fd, *events, *time), (&Num::Name("fd".into()), 0x5, Duration::ZERO));
        assert!(matches!(&steps[1].checks[..], [check] if matches!(check.want, Want::Events(4))));
        // It has time for what it waits.
        assert!(steps[2].timeout > Duration::from_secs(60));
        assert!(matches!(steps[2].checks[1].want, Want::Events(0)));
        assert!(matches!(&steps[3].checks[..], [check] if matches!(check.want, Want::Returns(_))));
    }

    #[test]
    fn what_poll_does_not_know_is_refused() {
        for (step, wanted) in [
            ("{poll: 3}", "`poll` needs the field `events`"),
            ("{poll: 3, events: [inn]}", "`in`"),
            ("{poll: 3, events: []}", "an empty list says nothing"),
            ("{poll: 3, events: in, for: 2 s, timeout: 1 s}", "longer than it may take"),
            ("{poll: 3, events: in, expect: {data: x}}", "brings no data back"),
            ("{poll: 3, events: in, match: '(1)'}", "brings no text for `match`"),
            ("{read: 3, expect: {events: in}}", "unknown field `events`"),
        ] {
            let errors = try_load(format!("steps:\n- {step}\n").as_bytes()).expect_err(step);
            assert!(errors.contains(wanted), "{step}{errors}");
        }
    }

    #[test]
    fn events_have_names() {
        assert_eq!([0, 0x1, 0x14, 0x1001].map(names), ["none", "in", "out, hup", "in, 0x1000"]);
        assert_eq!(came(&[3, 0, 0, 0, 1, 0, 0x11, 0]), Some(0x11));
        assert_eq!(came(&[3, 0, 0, 0, 1, 0]), None);
    }
}
