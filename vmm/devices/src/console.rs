//! virtio-console with two ports: `hvc0`, the guest's console, and a named one for the agent.
//!
//! Source: virtio 1.3, section 5.3. Queues: receive and transmit of port 0, control receive and
//! transmit, receive and transmit of port 1. Nobody types at the console: the buffers of its receive queue stay there.

use crate::{BadState, Broken, Chain, Queues, Stateful, VirtioDevice};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

/// Takes what the guest sends.
pub type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// The device.
pub struct Console {
    name: &'static str,
    /// Where the ports' bytes go.
    out: [Sink; 2],
    state: ConsoleState,
}

/// What a console remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// The driver knows of more than port 0.
    multiport: bool,
    /// For the control port, until the guest has room.
    input: VecDeque<u8>,
    /// Control messages that wait for a buffer of the guest.
    control: VecDeque<Vec<u8>>,
}

const MULTIPORT: u64 = 1 << 1;

/// Receive queues of this size hold 64 KiB, as Linux fills them.
const QUEUE_SIZES: &[u16] = &[16; 6];

/// The queues, by number.
mod queue {
    pub const CONSOLE_INPUT: usize = 0;
    pub const CONSOLE_OUTPUT: usize = 1;
    pub const CONTROL_TO_DRIVER: usize = 2;
    pub const CONTROL_FROM_DRIVER: usize = 3;
    pub const PORT_INPUT: usize = 4;
    pub const PORT_OUTPUT: usize = 5;
}

/// A longer transmit chain is refused, in bytes: its buffers may well overlap, so that guest memory is no
/// bound. Linux sends 32 KiB at the most.
const LARGEST: usize = 1 << 20;

/// So much for the control port waits for [`Console::pump`], in bytes: half of what its receive queue holds.
const MUCH: usize = 32 << 10;

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
        Self { name, out: [console, control], state: ConsoleState::default() }
    }

    /// Bytes for the guest's control port. They wait until the driver is ready, when there are `queues`, and the guest
    /// has room.
    pub fn send(&mut self, bytes: &[u8], queues: Option<&mut Queues>) {
        self.state.input.extend(bytes);
        if let Some(queues) = queues.filter(|_| self.state.multiport) {
            self.fill_input(queues);
        }
    }

    /// Hands on what waits for the control port, if it is much; says whether that still is. For who looks again soon: the
    /// driver then says of no buffer that it is there, which would be an exit each.
    pub fn pump(&mut self, queues: Option<&mut Queues>) -> bool {
        if self.state.input.len() > MUCH
            && let Some(queues) = queues.filter(|_| self.state.multiport)
        {
            self.fill_input(queues);
        }
        self.state.input.len() > MUCH
    }

    fn transmit(&mut self, port: usize, index: usize, queues: &mut Queues) {
        let out = &mut self.out[port];
        queues.serve(index, |chain| {
            if chain.writable() > 0 || chain.readable() > LARGEST {
                return Err(Broken);
            }
            chain.read(&mut *out)?;
            Ok(Some(0))
        });
    }

    fn fill_input(&mut self, queues: &mut Queues) {
        let input = &mut self.state.input;
        let settled = |input: &VecDeque<u8>| input.len() > MUCH;
        fill(queues, queue::PORT_INPUT, input, VecDeque::is_empty, settled, |chain, input| {
            if chain.readable() > 0 || chain.writable() == 0 {
                return Err(Broken);
            }
            let written = chain.write(input.make_contiguous())?;
            input.drain(..written);
            Ok(written)
        });
    }

    fn fill_control(&mut self, queues: &mut Queues) {
        let waiting = &mut self.state.control;
        let settled = |_: &VecDeque<_>| false;
        fill(queues, queue::CONTROL_TO_DRIVER, waiting, VecDeque::is_empty, settled, |chain, waiting| {
            let message = waiting.front().map_or(&[][..], Vec::as_slice);
            if chain.readable() > 0 || chain.writable() < message.len() {
                return Err(Broken);
            }
            let written = chain.write(message)?;
            waiting.pop_front();
            Ok(written)
        });
    }

    fn take_control(&mut self, queues: &mut Queues) {
        queues.serve(queue::CONTROL_FROM_DRIVER, |chain| {
            if chain.writable() > 0 || chain.readable() != 8 {
                return Err(Broken);
            }
            let mut message = Vec::with_capacity(8);
            chain.read(|bytes| message.extend(bytes))?;
            self.answer(message.try_into().map_err(|_| Broken)?)?;
            Ok(Some(0))
        });
        self.fill_control(queues);
    }

    fn answer(&mut self, message: [u8; 8]) -> Result<(), Broken> {
        let port = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
        let what = u16::from_le_bytes([message[4], message[5]]);
        match (what, port) {
            // Its port is of no meaning. All that there is to say is said at once: each further question and answer
            // would be exits, and time in which the agent waits.
            (event::DEVICE_READY, _) => {
                self.say(0, event::DEVICE_ADD, 0, b"")?;
                self.say(1, event::DEVICE_ADD, 0, b"")?;
                self.say(1, event::PORT_OPEN, 1, b"")?;
                self.say(0, event::CONSOLE_PORT, 1, b"")?;
                self.say(1, event::PORT_NAME, 1, self.name.as_bytes())
            }
            // The driver has a port, or has not; a program has opened or closed it. The host's end is always open.
            (event::PORT_READY | event::PORT_OPEN, 0 | 1) => Ok(()),
            _ => Err(Broken),
        }
    }

    fn say(&mut self, port: u32, event: u16, value: u16, rest: &[u8]) -> Result<(), Broken> {
        if self.state.control.len() >= CONTROL_BACKLOG {
            return Err(Broken);
        }
        let mut message = Vec::from(port.to_le_bytes());
        message.extend(event.to_le_bytes());
        message.extend(value.to_le_bytes());
        message.extend(rest);
        self.state.control.push_back(message);
        Ok(())
    }
}

/// Hands what waits to the buffers of a receive queue. The driver says when it adds some only as long as something is
/// left waiting that is not `settled`: that somebody looks after.
fn fill<T>(
    queues: &mut Queues,
    index: usize,
    waiting: &mut T,
    is_empty: impl Fn(&T) -> bool,
    settled: impl Fn(&T) -> bool,
    mut put: impl FnMut(&Chain, &mut T) -> Result<usize, Broken>,
) {
    let mut serve = |queues: &mut Queues, waiting: &mut T| {
        if !is_empty(waiting) {
            queues.serve(
                index,
                |chain| {
                    if is_empty(waiting) { Ok(None) } else { put(chain, waiting).map(Some) }
                },
            );
        }
        is_empty(waiting)
    };
    // Buffers that come after the second look are told of.
    let done = serve(queues, waiting) || settled(waiting);
    if done || queues.listen(index) && serve(queues, waiting) {
        queues.quiet(index);
    }
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn features(&self) -> u64 {
        MULTIPORT
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
    }

    fn config(&self) -> Vec<u8> {
        // Columns and rows (not offered), max_nr_ports, emergency write (not offered).
        [[0; 4], 2u32.to_le_bytes(), [0; 4]].concat()
    }

    fn activate(&mut self, features: u64, queues: &mut Queues) {
        self.state.multiport = features & MULTIPORT != 0;
        // Linux notifies for every single buffer that it offers to be filled, an exit each.
        queues.quiet(queue::CONSOLE_INPUT);
        self.fill_control(queues);
        self.fill_input(queues);
    }

    fn notify(&mut self, index: usize, queues: &mut Queues) {
        match index {
            queue::CONSOLE_INPUT => {}
            queue::CONSOLE_OUTPUT => self.transmit(0, index, queues),
            // The other queues exist for drivers only that know of ports.
            _ if !self.state.multiport => queues.broken(),
            queue::CONTROL_TO_DRIVER => self.fill_control(queues),
            queue::CONTROL_FROM_DRIVER => self.take_control(queues),
            queue::PORT_INPUT => self.fill_input(queues),
            queue::PORT_OUTPUT => self.transmit(1, index, queues),
            _ => {}
        }
    }

    fn reset(&mut self) {
        // What the host has said is still to be heard.
        self.state.multiport = false;
        self.state.control.clear();
    }
}

impl Stateful for Console {
    type State = ConsoleState;

    fn state(&self) -> ConsoleState {
        self.state.clone()
    }

    fn set_state(&mut self, state: ConsoleState) -> Result<(), BadState> {
        self.state = state;
        Ok(())
    }
}
