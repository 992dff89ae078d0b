//! Landlock: what a thread, and all that it starts, may still do with files, sockets and other processes.
//!
//! It takes no privilege and no namespace, so it holds where a container allows neither. A kernel that knows only a part
//! of it enforces that part ([`Walls`]).

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use std::path::PathBuf;

/// How much of it this kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walls {
    /// Everything that we know of.
    All,
    /// It is an older one: files, but not the network, or not signals.
    Some,
    /// Nothing at all.
    None,
}

/// Restricts this thread, and whatever it starts from now on: it may read `reads`, write `writes`, use `devices` as files,
/// and nothing else. Files that are open stay so.
///
/// # Errors
/// A kernel that knows Landlock does not take the rules.
pub fn restrict(reads: &[PathBuf], writes: &[PathBuf], devices: &[PathBuf]) -> Result<Walls, RulesetError> {
    // What is newer than a kernel is left out there.
    const KNOWN: ABI = ABI::V6;
    let file = (AccessFs::from_read(KNOWN) | AccessFs::from_write(KNOWN)) & AccessFs::from_file(KNOWN);
    // Nothing that is made here is to be a device, a pipe or a socket that others could take for a file.
    let all = AccessFs::from_all(KNOWN) & !(AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::MakeSock);
    let status: RestrictionStatus = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(reads, AccessFs::from_read(KNOWN)))?
        .add_rules(path_beneath_rules(writes, all))?
        .add_rules(path_beneath_rules(devices, file))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Walls::All,
        RulesetStatus::PartiallyEnforced => Walls::Some,
        RulesetStatus::NotEnforced => Walls::None,
    })
}
