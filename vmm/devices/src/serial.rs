//! The serial port (8250), for what a kernel says before its consoles work.

use crate::{BadState, Interrupt, Sink, Stateful};
use machine::{BusDevice, Effect};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};
use vm_superio::{
    Serial, Trigger,
    serial::{NoEvents, SerialState as Uart},
};

/// COM1: eight ports from 0x3f8 on, interrupt 4.
pub struct SerialPort {
    uart: Serial<Line, NoEvents, Out>,
    line: Line,
    out: Out,
}

/// What it remembers: vm-superio's state, which is no data for serde.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    baud_divisor: [u8; 2],
    interrupt_enable: u8,
    interrupt_identification: u8,
    line: [u8; 2],
    modem: [u8; 2],
    scratch: u8,
    input: Vec<u8>,
}

#[derive(Clone)]
struct Line(Interrupt);

impl Trigger for Line {
    type E = io::Error;
    fn trigger(&self) -> io::Result<()> {
        (self.0)();
        Ok(())
    }
}

/// Shared by one UART and the one that takes its place.
#[derive(Clone)]
struct Out(Arc<Mutex<Sink>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SerialPort {
    /// A port that hands every byte to `out`.
    pub fn new(interrupt: Interrupt, out: Sink) -> Self {
        let (line, out) = (Line(interrupt), Out(Arc::new(Mutex::new(out))));
        Self { uart: Serial::new(line.clone(), out.clone()), line, out }
    }
}

impl BusDevice for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(first) = data.first_mut() {
            *first = self.uart.read(offset as u8);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        for byte in data {
            // The only errors are the line's and the sink's, which have none, and that of a full buffer in loopback.
            let _ = self.uart.write(offset as u8, *byte);
        }
        Effect::None
    }
}

impl Stateful for SerialPort {
    type State = SerialState;

    fn state(&self) -> SerialState {
        let uart = self.uart.state();
        SerialState {
            baud_divisor: [uart.baud_divisor_low, uart.baud_divisor_high],
            interrupt_enable: uart.interrupt_enable,
            interrupt_identification: uart.interrupt_identification,
            line: [uart.line_control, uart.line_status],
            modem: [uart.modem_control, uart.modem_status],
            scratch: uart.scratch,
            input: uart.in_buffer,
        }
    }

    fn set_state(&mut self, state: SerialState) -> Result<(), BadState> {
        let uart = Uart {
            baud_divisor_low: state.baud_divisor[0],
            baud_divisor_high: state.baud_divisor[1],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line[0],
            line_status: state.line[1],
            modem_control: state.modem[0],
            modem_status: state.modem[1],
            scratch: state.scratch,
            in_buffer: state.input,
        };
        let uart = Serial::from_state(&uart, self.line.clone(), NoEvents, self.out.clone());
        self.uart = uart.map_err(|_| BadState)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn a_port_goes_on_in_another_process_and_keeps_its_own_connection() {
        let port = || {
            let said = Arc::new(Mutex::new(Vec::new()));
            let out = said.clone();
            let sink = Box::new(move |bytes: &[u8]| out.lock().unwrap().extend(bytes));
            (SerialPort::new(Arc::new(|| {}), sink), said)
        };
        let (mut one, said_by_one) = port();
        let read = |port: &mut SerialPort, offset| {
            let mut byte = [0];
            port.read(offset, &mut byte);
            byte[0]
        };
        // Divisor, word length, scratch, and a byte in the receive buffer, by way of the loopback.
        for (offset, byte) in
            [(3, 0x83), (0, 1), (1, 0), (3, 3), (7, 0x5a), (4, 0x18), (0, b'l'), (4, 8), (0, b'a')]
        {
            let _ = one.write(offset, &[byte]);
        }
        let (mut two, said_by_two) = port();
        two.restore(&one.save()).unwrap();
        assert_eq!(two.state(), one.state());
        assert_eq!((read(&mut two, 7), read(&mut two, 5) & 1, read(&mut two, 0)), (0x5a, 1, b'l'));
        let _ = two.write(0, b"b");
        assert_eq!(
            (&said_by_one.lock().unwrap()[..], &said_by_two.lock().unwrap()[..]),
            (&b"a"[..], &b"b"[..])
        );
        // More than the buffer holds was never saved.
        let saved = SerialState { input: vec![0; 1000], ..one.state() };
        assert_eq!(one.set_state(saved), Err(BadState));
    }
}
