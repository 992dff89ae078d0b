//! Which devices a machine has: one table, which the bus, the command line, the ACPI tables, the evidence and saved
//! states are made from.

use devices::{Cmos, Console, Device, I8042, Interrupt, SerialPort, Sink, VirtioMmio};
use machine::{Bus, Memory, Space, Vm, boot::MmioDevice, layout};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The name of the agent's port.
const CONTROL_PORT: &str = "vmm.control";

/// One device.
struct Slot {
    /// In the evidence and in saved states.
    name: &'static str,
    place: Place,
    make: fn(&mut Wiring, Interrupt) -> Arc<Mutex<dyn Device>>,
}

/// Where it is, and the input of the interrupt controllers that its line leads to.
#[derive(Clone, Copy)]
enum Place {
    /// I/O ports.
    Ports { start: u64, count: u64, interrupt: Option<u32> },
    /// A virtio device behind the window of this number, which the kernel is told of.
    Virtio { window: u64, interrupt: u32 },
}

/// All of them. The MP table wires inputs 0 to 15; the PIC's cascade (2) can't be had, nor what a PC always has: timer
/// (0), keyboard (1), clock (8), ACPI (9), FPU (13).
const SLOTS: &[Slot] = &[
    Slot { name: "console", place: Place::Virtio { window: 0, interrupt: 5 }, make: console },
    Slot { name: "serial", place: Place::Ports { start: 0x3f8, count: 8, interrupt: Some(4) }, make: serial },
    Slot { name: "clock", place: Place::Ports { start: 0x70, count: 2, interrupt: None }, make: clock },
    // KVM itself answers port 0x61 in between.
    Slot { name: "keyboard", place: Place::Ports { start: 0x60, count: 5, interrupt: None }, make: keyboard },
];

fn console(wiring: &mut Wiring, interrupt: Interrupt) -> Arc<Mutex<dyn Device>> {
    let Connections { console, control, .. } = &mut wiring.connections;
    let console = Console::new(CONTROL_PORT, take(console), take(control));
    let console = Arc::new(Mutex::new(VirtioMmio::new(console, wiring.memory.clone(), interrupt)));
    wiring.console = Some(console.clone());
    console
}

fn serial(wiring: &mut Wiring, interrupt: Interrupt) -> Arc<Mutex<dyn Device>> {
    Arc::new(Mutex::new(SerialPort::new(interrupt, take(&mut wiring.connections.serial))))
}

fn clock(_: &mut Wiring, _: Interrupt) -> Arc<Mutex<dyn Device>> {
    Arc::new(Mutex::new(Cmos::default()))
}

fn keyboard(_: &mut Wiring, _: Interrupt) -> Arc<Mutex<dyn Device>> {
    Arc::new(Mutex::new(I8042))
}

/// Where what the guest sends goes on the host.
pub struct Connections {
    /// Of the console `hvc0`.
    pub console: Sink,
    /// Of the agent's port.
    pub control: Sink,
    /// Of the serial port.
    pub serial: Sink,
}

fn take(sink: &mut Sink) -> Sink {
    std::mem::replace(sink, Box::new(|_| {}))
}

/// What devices are made with.
struct Wiring {
    memory: Memory,
    connections: Connections,
    console: Option<Arc<Mutex<VirtioMmio<Console>>>>,
}

/// The devices of a machine.
pub struct Devices {
    all: Vec<(&'static str, Arc<Mutex<dyn Device>>)>,
    console: Arc<Mutex<VirtioMmio<Console>>>,
}

/// The whole state of all devices, by name.
pub type DeviceStates = BTreeMap<String, Vec<u8>>;

impl Devices {
    /// Makes them, and a bus that they are on.
    pub fn wire(vm: &Arc<Vm>, connections: Connections) -> Result<(Self, Bus), machine::Error> {
        let connect = |gsi| {
            let line = vm.interrupt_line(gsi)?;
            Ok(Arc::new(move || line.raise()) as Interrupt)
        };
        Self::make(vm.memory().clone(), connections, &connect)
    }

    fn make(
        memory: Memory,
        connections: Connections,
        connect: &dyn Fn(u32) -> Result<Interrupt, machine::Error>,
    ) -> Result<(Self, Bus), machine::Error> {
        let mut wiring = Wiring { memory, connections, console: None };
        let (mut bus, mut all) = (Bus::new(), Vec::new());
        for slot in SLOTS {
            let (space, start, length, interrupt) = match slot.place {
                Place::Ports { start, count, interrupt } => (Space::Port, start, count, interrupt),
                Place::Virtio { window, interrupt } => {
                    (Space::Memory, base(window), layout::MMIO_WINDOW, Some(interrupt))
                }
            };
            let interrupt = interrupt.map_or_else(|| Ok(Arc::new(|| {}) as Interrupt), connect)?;
            let device = (slot.make)(&mut wiring, interrupt);
            bus.insert(space, start, length, device.clone());
            all.push((slot.name, device));
        }
        Ok((Self { all, console: wiring.console.expect("the console has a slot") }, bus))
    }

    /// Bytes for the guest's control port; they wait until it has room.
    pub fn send_control(&self, bytes: &[u8]) {
        lock(&self.console).work(|console, queues| console.send(bytes, queues));
    }

    /// Hands on more of what waits for the guest's control port; says whether that is to be done again soon.
    pub fn pump(&self) -> bool {
        lock(&self.console).work(|console, queues| console.pump(queues))
    }

    /// How often the guest's drivers broke the rules, by device.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let errors = self.all.iter().map(|(name, device)| (name.to_string(), lock(device).errors()));
        errors.filter(|(_, errors)| *errors > 0).collect()
    }

    /// The whole state of all devices. No vCPU may run meanwhile, or they are not of one moment.
    pub fn save(&self) -> DeviceStates {
        self.all.iter().map(|(name, device)| (name.to_string(), lock(device).save())).collect()
    }

    /// Puts all devices into a state that [`Devices::save`] returned; their connections to the host stay.
    ///
    /// # Errors
    /// The name of a device that has no state there, or one that it can't have. Others may be in their new state by
    /// then, so that the machine is of no more use.
    pub fn restore(&self, states: &DeviceStates) -> Result<(), &'static str> {
        for (name, device) in &self.all {
            let state = states.get(*name).ok_or(*name)?;
            lock(device).restore(state).map_err(|_| *name)?;
        }
        Ok(())
    }
}

/// The words of the command line that tell a kernel of the virtio devices
/// (Documentation/admin-guide/kernel-parameters.txt, virtio_mmio.device).
pub fn words() -> impl Iterator<Item = String> {
    let word = |device: MmioDevice| {
        format!("virtio_mmio.device={}K@{:#x}:{}", device.size >> 10, device.base, device.gsi)
    };
    virtio_devices().map(word)
}

/// The same for ACPI tables.
pub fn virtio_devices() -> impl Iterator<Item = MmioDevice> {
    SLOTS.iter().filter_map(|slot| match slot.place {
        Place::Virtio { window, interrupt } => {
            Some(MmioDevice { base: base(window) as u32, size: layout::MMIO_WINDOW as u32, gsi: interrupt })
        }
        Place::Ports { .. } => None,
    })
}

fn base(window: u64) -> u64 {
    layout::MMIO.0 + window * layout::MMIO_WINDOW
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::create_memory;
    use std::collections::BTreeSet;

    fn machine() -> (Devices, Bus) {
        let sink = || Box::new(|_: &[u8]| {});
        let connections = Connections { console: sink(), control: sink(), serial: sink() };
        Devices::make(create_memory(32).unwrap(), connections, &|_| Ok(Arc::new(|| {}))).unwrap()
    }

    #[test]
    fn names_and_interrupts_are_each_device_s_own() {
        let names: BTreeSet<_> = SLOTS.iter().map(|slot| slot.name).collect();
        assert_eq!(names.len(), SLOTS.len());
        let interrupts = SLOTS.iter().filter_map(|slot| match slot.place {
            Place::Ports { interrupt, .. } => interrupt,
            Place::Virtio { interrupt, .. } => Some(interrupt),
        });
        let interrupts: Vec<_> = interrupts.collect();
        assert_eq!(interrupts.iter().collect::<BTreeSet<_>>().len(), interrupts.len());
        assert!(interrupts.iter().all(|gsi| (3..16).contains(gsi) && ![8, 9, 13].contains(gsi)));
    }

    #[test]
    fn the_kernel_is_told_the_same_place_in_both_ways_and_finds_the_device_there() {
        let devices: Vec<_> = virtio_devices().collect();
        let words: Vec<_> = words().collect();
        assert_eq!(devices.len(), words.len());
        assert_eq!(words[0], "virtio_mmio.device=4K@0xd0000000:5");
        assert_eq!(devices[0], MmioDevice { base: 0xd000_0000, size: 0x1000, gsi: 5 });
        let (_, bus) = machine();
        for device in devices {
            let mut magic = [0; 4];
            bus.read(Space::Memory, u64::from(device.base), &mut magic);
            assert_eq!(&magic, b"virt");
        }
    }

    #[test]
    fn all_devices_go_on_in_another_machine() {
        let ((one, bus), (two, other)) = (machine(), machine());
        let before = two.save();
        assert!(!before.values().all(Vec::is_empty));
        // The clock's index, the serial port's scratch register, virtio's status and an error of its driver.
        let _ = bus.write(Space::Port, 0x70, &[0x0d]);
        let _ = bus.write(Space::Port, 0x3ff, &[0x5a]);
        let _ = bus.write(Space::Memory, 0xd000_0070, &1u32.to_le_bytes());
        let _ = bus.write(Space::Memory, 0xd000_0050, &0u32.to_le_bytes());
        let states = one.save();
        assert_ne!(states, before);
        two.restore(&states).unwrap();
        assert_eq!(two.save(), states);
        assert_eq!(two.errors(), BTreeMap::from([("console".to_owned(), 1)]));
        let mut byte = [0];
        other.read(Space::Port, 0x3ff, &mut byte);
        assert_eq!(byte, [0x5a]);
        two.restore(&before).unwrap();
        assert_eq!((two.save(), two.errors()), (before, BTreeMap::new()));
    }

    #[test]
    fn a_state_that_is_missing_or_damaged_is_told_by_the_device_s_name() {
        let (devices, _) = machine();
        let mut states = devices.save();
        states.get_mut("serial").unwrap().pop();
        assert_eq!(devices.restore(&states), Err("serial"));
        states.remove("console");
        assert_eq!(devices.restore(&states), Err("console"));
    }
}
