//! Where vCPUs stood while nothing went on.

use super::Names;
use crate::scenario::model::EndingKind;
use board::wire::VcpuStanding;
use std::collections::BTreeMap;

/// The two ways to hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// A vCPU was busy.
    Spinning,
    /// All were halted, or none could be looked at.
    Idle,
}

impl Hang {
    /// Idle if every vCPU was halted in every sample.
    pub fn of(samples: &[Vec<VcpuStanding>]) -> Self {
        if samples.iter().flatten().all(|vcpu| vcpu.halted) { Self::Idle } else { Self::Spinning }
    }

    /// Whether a scenario's word means this.
    pub fn is(self, kind: EndingKind) -> bool {
        match kind {
            EndingKind::Hang => true,
            EndingKind::HangSpinning => self == Self::Spinning,
            EndingKind::HangIdle => self == Self::Idle,
            _ => false,
        }
    }
}

/// One line for each vCPU and place, the places where it was seen most often first; at most 16 lines.
pub fn describe(samples: &[Vec<VcpuStanding>], names: &Names) -> Vec<String> {
    let mut places: BTreeMap<(u8, String), usize> = BTreeMap::new();
    for vcpu in samples.iter().flatten() {
        *places.entry((vcpu.index, place(vcpu, names))).or_default() += 1;
    }
    let mut places: Vec<((u8, String), usize)> = places.into_iter().collect();
    places.sort_by_key(|((index, _), count)| (*index, std::cmp::Reverse(*count)));
    let rounds = samples.len();
    let line = |((index, place), count): ((u8, String), usize)| {
        let often = if rounds > 1 { format!(" ({count} of {rounds} samples)") } else { String::new() };
        format!("vCPU {index} {place}{often}")
    };
    places.into_iter().take(16).map(line).collect()
}

fn place(vcpu: &VcpuStanding, names: &Names) -> String {
    let symbol = (names.symbol)(vcpu.rip).unwrap_or_else(|| format!("{:#x}", vcpu.rip));
    let how = match (vcpu.halted, vcpu.cpl) {
        (true, _) => "halted at",
        (false, 3) => "in user space at",
        (false, _) => "running at",
    };
    let interrupts = if vcpu.interrupts { "" } else { ", interrupts off" };
    format!("{how} {symbol}{interrupts}")
}
