//! virtio-console with two ports: `hvc0`, the guest's console, and a named one for the agent.
//!
//! Source: virtio 1.3, section 5.3. Queues: receive and transmit of port 0, control receive and
//! transmit, receive and transmit of port 1.

use crate::VirtioDevice;
use machine::Memory;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    io::{Read, Write},
};
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use virtio_queue::{DescriptorChain, Queue, QueueT};

/// Takes what the guest sends.
pub type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// The device.
pub struct Console {
    name: &'static str,
    ports: [Port; 2],
    /// Control messages that wait for a buffer of the guest.
    control: VecDeque<Vec<u8>>,
    errors: u64,
}

struct Port {
    out: Sink,
    input: VecDeque<u8>,
}

/// What is on its way to the guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsoleState {
    input: [Vec<u8>; 2],
    control: Vec<Vec<u8>>,
}

const MULTIPORT: u64 = 1 << 1;

/// Longest piece of a transmit chain that is passed on at once, in bytes.
const PIECE: usize = 64 << 10;

/// A longer transmit chain is refused, in bytes: its buffers may well overlap, so that guest memory is no
/// bound. Linux sends 32 KiB at the most.
const LARGEST: usize = 1 << 20;

/// Waiting control messages beyond this are dropped: a driver that asks and never takes the answers.
const CONTROL_BACKLOG: usize = 256;

/// Control events (section 5.3.6.2).
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const DEVICE_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

impl Console {
    /// `console` takes what the guest writes to `hvc0`, `control` what it writes to the port `name`.
    pub fn new(name: &'static str, console: Sink, control: Sink) -> Self {
        let port = |out| Port { out, input: VecDeque::new() };
        Self { name, ports: [port(console), port(control)], control: VecDeque::new(), errors: 0 }
    }

    /// Bytes for the guest's control port; they wait until the guest has room.
    pub fn send(&mut self, bytes: &[u8], queues: &mut [Queue], memory: &Memory) -> bool {
        self.ports[1].input.extend(bytes);
        self.fill_input(1, &mut queues[4], memory)
    }

    /// Keeps bytes for the control port until the driver is ready.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.ports[1].input.extend(bytes);
    }

    /// Descriptor chains that broke the rules.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// What is on its way, as plain data.
    pub fn state(&self) -> ConsoleState {
        ConsoleState {
            input: [0, 1].map(|port: usize| self.ports[port].input.iter().copied().collect()),
            control: self.control.iter().cloned().collect(),
        }
    }

    /// Takes back what [`Console::state`] handed out.
    pub fn restore(&mut self, state: ConsoleState) {
        for (port, input) in self.ports.iter_mut().zip(state.input) {
            port.input = input.into();
        }
        self.control = state.control.into();
    }

    fn transmit(&mut self, port: usize, queue: &mut Queue, memory: &Memory) -> bool {
        let (out, errors) = (&mut self.ports[port].out, &mut self.errors);
        consume(queue, memory, errors, |chain| {
            let mut reader = chain.reader(&**memory).ok()?;
            let length = reader.available_bytes();
            if length > LARGEST {
                return None;
            }
            let mut piece = vec![0; length.min(PIECE)];
            loop {
                match reader.read(&mut piece).ok()? {
                    0 => return Some(0),
                    length => out(&piece[..length]),
                }
            }
        })
    }

    fn fill_input(&mut self, port: usize, queue: &mut Queue, memory: &Memory) -> bool {
        let input = &mut self.ports[port].input;
        let mut used = false;
        while !input.is_empty() && queue.is_valid(&**memory) {
            let Some(chain) = queue.pop_descriptor_chain(&**memory) else { break };
            let head = chain.head_index();
            let mut written = 0;
            match chain.writer(&**memory) {
                Ok(mut writer) => {
                    while let Ok(length @ 1..) = writer.write(input.as_slices().0) {
                        input.drain(..length);
                        written += length as u32;
                    }
                }
                Err(_) => self.errors += 1,
            }
            used |= queue.add_used(&**memory, head, written).is_ok();
        }
        used
    }

    fn fill_control(&mut self, queue: &mut Queue, memory: &Memory) -> bool {
        let mut used = false;
        while let Some(message) = self.control.front() {
            if !queue.is_valid(&**memory) {
                break;
            }
            let Some(chain) = queue.pop_descriptor_chain(&**memory) else { break };
            let head = chain.head_index();
            let written = chain.writer(&**memory).ok().and_then(|mut writer| writer.write_all(message).ok());
            let length = if written.is_some() { message.len() as u32 } else { 0 };
            self.errors += u64::from(written.is_none());
            used |= queue.add_used(&**memory, head, length).is_ok();
            self.control.pop_front();
        }
        used
    }

    fn take_control(&mut self, queue: &mut Queue, memory: &Memory) -> bool {
        let mut messages = Vec::new();
        let used = consume(queue, memory, &mut self.errors, |chain| {
            let mut message = [0; 8];
            chain.reader(&**memory).ok()?.read_exact(&mut message).ok()?;
            messages.push(message);
            Some(0)
        });
        for message in messages {
            self.answer(message);
        }
        used
    }

    fn answer(&mut self, message: [u8; 8]) {
        let port = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
        let what = u16::from_le_bytes([message[4], message[5]]);
        match (what, port) {
            (event::DEVICE_READY, _) => {
                self.say(0, event::DEVICE_ADD, 0, b"");
                self.say(1, event::DEVICE_ADD, 0, b"");
            }
            (event::PORT_READY, 0) => self.say(0, event::CONSOLE_PORT, 1, b""),
            (event::PORT_READY, 1) => {
                self.say(1, event::PORT_NAME, 1, self.name.as_bytes());
                self.say(1, event::PORT_OPEN, 1, b"");
            }
            _ => {}
        }
    }

    fn say(&mut self, port: u32, event: u16, value: u16, rest: &[u8]) {
        if self.control.len() < CONTROL_BACKLOG {
            let mut message = Vec::from(port.to_le_bytes());
            message.extend(event.to_le_bytes());
            message.extend(value.to_le_bytes());
            message.extend(rest);
            self.control.push_back(message);
        }
    }
}

/// Hands every chain that the guest made available to `take`, which returns how many bytes it wrote or
/// `None` for a chain that breaks the rules. True when the guest is to be told.
fn consume<'m>(
    queue: &mut Queue,
    memory: &'m Memory,
    errors: &mut u64,
    mut take: impl FnMut(DescriptorChain<&'m vm_memory::GuestMemoryMmap<()>>) -> Option<u32>,
) -> bool {
    if !queue.is_valid(&**memory) {
        *errors += 1;
        return false;
    }
    let mut used = false;
    // No more chains than the queue has room for in one go: the guest may add some all the while.
    for _ in 0..queue.size() {
        let Some(chain) = queue.pop_descriptor_chain(&**memory) else { break };
        let head = chain.head_index();
        let length = take(chain);
        *errors += u64::from(length.is_none());
        used |= queue.add_used(&**memory, head, length.unwrap_or(0)).is_ok();
    }
    used && queue.needs_notification(&**memory).unwrap_or(true)
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn features(&self) -> u64 {
        MULTIPORT
    }

    fn queues(&self) -> usize {
        6
    }

    fn config(&self) -> Vec<u8> {
        // Columns and rows (not offered), max_nr_ports, emergency write (not offered).
        [[0; 4], 2u32.to_le_bytes(), [0; 4]].concat()
    }

    fn notify(&mut self, index: usize, queues: &mut [Queue], memory: &Memory) -> bool {
        match index {
            0 => self.fill_input(0, &mut queues[0], memory),
            1 => self.transmit(0, &mut queues[1], memory),
            2 => self.fill_control(&mut queues[2], memory),
            3 => {
                let used = self.take_control(&mut queues[3], memory);
                self.fill_control(&mut queues[2], memory) | used
            }
            4 => self.fill_input(1, &mut queues[4], memory),
            5 => self.transmit(1, &mut queues[5], memory),
            _ => false,
        }
    }

    fn reset(&mut self) {
        self.control.clear();
    }
}
