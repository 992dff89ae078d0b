//! The serial port (8250), for what a kernel says before its consoles work.

use crate::Sink;
use machine::{BusDevice, Effect, InterruptLine};
use std::io::{self, Write};
use vm_superio::{Serial, Trigger, serial::NoEvents};

/// COM1: eight ports from 0x3f8 on, interrupt 4.
pub struct SerialPort(Serial<Line, NoEvents, Out>);

struct Line(InterruptLine);

impl Trigger for Line {
    type E = io::Error;
    fn trigger(&self) -> io::Result<()> {
        self.0.raise();
        Ok(())
    }
}

struct Out(Sink);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SerialPort {
    /// A port that hands every byte to `out`.
    pub fn new(line: InterruptLine, out: Sink) -> Self {
        Self(Serial::new(Line(line), Out(out)))
    }
}

impl BusDevice for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        data[0] = self.0.read(offset as u8);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        for byte in data {
            // The only errors are the line's and the sink's, which have none.
            let _ = self.0.write(offset as u8, *byte);
        }
        Effect::None
    }
}
