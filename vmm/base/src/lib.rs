//! What every step of a run's way needs, and that is none of their subjects: the [`cache`], messages on files
//! ([`diagnostic`]), Ctrl-C ([`interrupt`]), files that somebody names ([`input`]), [`progress`], [`text`] for people, packed files ([`unpack`]),
//! what modules are called ([`module`]), folders that go with their maker ([`stage`]), what was changed since it was made ([`seal`]), the [`project`]'s folder, the [`program`]'s own file, what people ask for
//! ([`wanted`]), which makefiles the kernel reads ([`kbuild`]), and the letters of the kernel's [`taint`].
//!
//! It knows nothing of scenarios, kernels or machines, and no crate of this project but those that are below it.

#![forbid(unsafe_code)]

pub mod cache;
pub mod diagnostic;
pub mod input;
pub mod interrupt;
pub mod kbuild;
pub mod module;
pub mod program;
pub mod progress;
pub mod project;
pub mod seal;
pub mod stage;
pub mod taint;
pub mod text;
pub mod unpack;
pub mod wanted;
