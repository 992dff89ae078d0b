//! Why a vCPU can't go on, and whose fault that is.

use crate::wire::{Blame, EndReason};
use machine::Failure;
use trap::TrapError;

/// KVM refused something that it did before: the guest's state is a part of why, and KVM is another.
pub(super) fn refused(error: &TrapError) -> EndReason {
    EndReason::Failed { blame: Blame::Unknown, why: error.to_string() }
}

/// KVM can't run the guest on. What never ran can't have brought that about.
pub(super) fn gave_up(failure: &Failure, ran: bool) -> EndReason {
    let blame = match failure {
        // What it executes, where it points its tables: KVM can't do what the guest wants.
        Failure::Internal { .. } | Failure::Unknown(_) if ran => Blame::Guest,
        Failure::Internal { .. } | Failure::Unknown(_) => Blame::Unknown,
        Failure::NoMemory { .. } => Blame::Host,
        Failure::Entry { .. } | Failure::Run { .. } if ran => Blame::Unknown,
        Failure::Entry { .. } | Failure::Run { .. } => Blame::Host,
    };
    EndReason::Failed { blame, why: format!("KVM gave up on the guest: {failure}") }
}
