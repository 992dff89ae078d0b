//! A tiny guest is saved, goes on, is put back and goes on again. Where no KVM can be opened there is nothing to be seen;
//! one that only interprets kernels does.

use super::*;
use crate::{Blank, Exit, Memory, Processor, Space, Vcpu, Vm, boot, create_memory, x86::GS_BASES};
use std::{fs::File, sync::Arc};
use vm_memory::{Bytes, GuestAddress};

const CODE: GuestAddress = GuestAddress(0x10_0000);
const DATA: GuestAddress = GuestAddress(0x20_0000);
/// Asked between what is set and what is told, so that a state is taken in the middle of it.
const ASK: u64 = 5;

/// Counts in RBX, and puts the count where each part of the state keeps something; then tells what it finds there.
const GUEST: &[u8] = &[
    0x48, 0xff, 0xc3, // 1: inc rbx
    0x48, 0x89, 0x1c, 0x25, 0x00, 0x00, 0x20, 0x00, // mov [DATA], rbx
    0x89, 0xd8, 0xe6, 0x21, // mov eax, ebx; out 0x21, al: the PIC's mask
    0x44, 0x0f, 0x22, 0xc0, // mov cr8, rax: the local APIC's priority
    0xb9, 0x02, 0x01, 0x00, 0xc0, // mov ecx, KERNEL_GS_BASE
    0x31, 0xd2, 0x0f, 0x30, // xor edx, edx; wrmsr
    0xe4, 0x05, 0x88, 0xc4, // in al, ASK; mov ah, al
    0xe4, 0x21, 0xe6, 0x01, // in al, 0x21; out 1, al
    0x88, 0xe0, 0xe6, 0x02, // mov al, ah; out 2, al
    0x44, 0x0f, 0x20, 0xc0, 0xe6, 0x03, // mov rax, cr8; out 3, al
    0x0f, 0x32, 0xe6, 0x04, // rdmsr; out 4, al
    0x8b, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0xe6, 0x06, // mov eax, [DATA]; out 6, al
    0xeb, 0xc3, // jmp 1b
];

struct Guest {
    memory: Memory,
    vm: Arc<Vm>,
    vcpu: Vcpu,
}

impl Guest {
    /// `None` without KVM.
    fn new() -> Option<Self> {
        if File::options().read(true).write(true).open("/dev/kvm").is_err() {
            eprintln!("there is no KVM here: nothing is tested");
            return None;
        }
        let memory = create_memory(32).unwrap();
        let vm = Arc::new(Vm::new(Blank::new().unwrap(), memory.clone()).unwrap());
        let vcpu = vm.vcpu(0, 1).unwrap();
        boot::write_tables(&memory).unwrap();
        memory.write_slice(GUEST, CODE).unwrap();
        boot::start(&vcpu, CODE).unwrap();
        Some(Self { memory, vm, vcpu })
    }

    /// Runs until the guest asks, and answers.
    fn ask(&mut self, answer: u8) {
        loop {
            match self.vcpu.run() {
                Exit::Read { space: Space::Port, address: ASK, data } => return data.fill(answer),
                Exit::Write { .. } | Exit::Interrupted => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Runs until the guest has told everything: mask, answer, priority, MSR, memory.
    fn told(&mut self) -> Vec<u8> {
        let mut told = Vec::new();
        while told.len() < 5 {
            match self.vcpu.run() {
                Exit::Write { space: Space::Port, data, .. } => told.push(data[0]),
                Exit::Interrupted => {}
                other => panic!("{other:?}"),
            }
        }
        told
    }

    fn save(&mut self) -> (VcpuState, VmState, Vec<u8>) {
        assert!(matches!(self.vcpu.settle(), Exit::Interrupted), "the answer was an access's last part");
        let mut data = vec![0; 8];
        self.memory.read_slice(&mut data, DATA).unwrap();
        (self.vcpu.save().unwrap(), self.vm.save().unwrap(), data)
    }

    fn restore(&mut self, (vcpu, vm, data): &(VcpuState, VmState, Vec<u8>)) {
        self.memory.write_slice(data, DATA).unwrap();
        self.vm.restore(vm).unwrap();
        self.vcpu.restore(vcpu).unwrap();
    }
}

#[test]
fn a_guest_goes_on_from_where_it_was_saved_here_and_in_another_machine() {
    let Some(mut guest) = Guest::new() else { return };
    (1..=3).for_each(|count| {
        guest.ask(100);
        assert_eq!(guest.told(), [count, 100, count, count, count]);
    });
    // In the middle of an access, whose answer is a part of what is saved.
    guest.ask(44);
    let saved = guest.save();
    assert_eq!((saved.0.registers().rbx, saved.0.msr(GS_BASES[1])), (4, Some(4)));
    let then = [4, 44, 4, 4, 4];
    assert_eq!(guest.told(), then);
    guest.ask(9);
    assert_eq!(guest.told(), [5, 9, 5, 5, 5]);

    guest.restore(&saved);
    assert_eq!(guest.told(), then);
    guest.ask(7);
    assert_eq!(guest.told(), [5, 7, 5, 5, 5]);

    // As bytes, in a machine that has never run.
    let bytes = postcard::to_allocvec(&(&saved.0, &saved.1)).unwrap();
    let (vcpu, vm) = postcard::from_bytes(&bytes).unwrap();
    let mut other = Guest::new().unwrap();
    other.restore(&(vcpu, vm, saved.2.clone()));
    assert_eq!(other.told(), then);
    other.ask(8);
    assert_eq!(other.told(), [5, 8, 5, 5, 5]);
}

#[test]
fn floating_point_and_debug_registers_come_back() {
    let Some(mut guest) = Guest::new() else { return };
    guest.ask(1);
    let mut saved = guest.save();
    saved.0.set_floating_point(3, [7; 16]);
    saved.0.set_debug(0, 0x1234);
    guest.restore(&saved);
    let again = guest.save();
    assert_eq!(again.0.floating_point(3), [7; 16]);
    assert_eq!(again.0.debug(0), 0x1234);
    // XMM3 alone was changed.
    assert_ne!(again.0.floating_point(2), [7; 16]);
}

#[test]
fn an_interrupt_has_come_when_its_line_was_raised() {
    let Some(guest) = Guest::new() else { return };
    let line = guest.vm.interrupt_line(5).unwrap();
    for _ in 0..100 {
        let before = guest.vm.save().unwrap();
        line.raise();
        assert_eq!(before.differences(&guest.vm.save().unwrap()), ["the interrupt controllers"]);
        guest.vm.restore(&before).unwrap();
    }
}

#[test]
fn the_time_stamp_counter_goes_on_from_where_it_was() {
    let Some(mut guest) = Guest::new() else { return };
    let counter = |guest: &mut Guest| {
        guest.ask(1);
        let state = guest.save();
        (state.0.msr(tsc::TSC).unwrap(), state)
    };
    let (first, saved) = counter(&mut guest);
    // A new machine's counter begins at 0. Some KVM within another hypervisor shows the processor's own: that can't be put anywhere.
    if first > 60_000_000_000 {
        eprintln!("this KVM has no counters of its own: nothing is tested");
        return;
    }
    // Within the second in which KVM takes a write of the counter for something else; twice, as resets follow on one another.
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let (later, _) = counter(&mut guest);
        guest.restore(&saved);
        let (again, _) = counter(&mut guest);
        assert!(again >= first && again - first < (later - first) / 2, "{first}, {later}, {again}");
    }
}

/// So that a test can tell them apart.
impl VcpuState {
    /// XMM registers follow the eight of the FPU in either form (Intel SDM volume 1, table 13-1: byte 160 on).
    fn floating_point(&self, xmm: usize) -> [u8; 16] {
        match &self.xsave {
            Some(area) => {
                let words = area[40 + 4 * xmm..][..4].iter().flat_map(|word| word.to_le_bytes());
                words.collect::<Vec<u8>>().try_into().unwrap()
            }
            None => self.fpu.xmm[xmm],
        }
    }

    fn set_floating_point(&mut self, xmm: usize, value: [u8; 16]) {
        self.fpu.xmm[xmm] = value;
        if let Some(area) = &mut self.xsave {
            for (word, bytes) in area[40 + 4 * xmm..].iter_mut().zip(value.chunks(4)) {
                *word = u32::from_le_bytes(bytes.try_into().unwrap());
            }
            // XSTATE_BV of the header at byte 512: the SSE part is there (section 13.4.2).
            area[128] |= 2;
        }
    }

    fn debug(&self, index: usize) -> u64 {
        self.debug.db[index]
    }

    fn set_debug(&mut self, index: usize, address: u64) {
        self.debug.db[index] = address;
    }
}
