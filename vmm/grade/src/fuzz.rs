//! For `tests/fuzz`: what is done with a submission before anything is built.

use crate::{assignment::Assignment, intake::Budget, source, stand_in::Asked, syscall};

pub use crate::{intake::Files, syscall::Base};

/// Takes a file in, and whatever is packed in it.
///
/// # Errors
/// As for a student.
pub fn intake(name: &str, bytes: Vec<u8>, assignment: &Assignment) -> Result<Files, String> {
    let mut budget = Budget::new(&assignment.limits);
    budget.add(name, bytes, 0)?;
    let Budget { files, notes, .. } = budget;
    Ok(Files { files, notes })
}

/// Makes it buildable, as whatever the assignment asks for; gives what there is to say of it.
pub fn prepare(assignment: &Assignment, files: &Files, base: &Base) -> Vec<String> {
    let rules = &assignment.rules();
    let modules = ["a", "drv"].map(str::to_owned).into();
    let asked = Asked { modules, any: true, ..Asked::default() };
    let module = source::module::prepare(rules, files, None, &asked).map(|module| {
        let own = [source::device(&module.text, &module.module), source::major(&module.text)];
        [module.notes, own.into_iter().flatten().collect()].concat()
    });
    let patches = source::patches::prepare(rules, files).map(|handed| [handed.order, handed.notes].concat());
    let call = syscall::Submission::read(rules, files, base).and_then(|call| {
        // As if each of its files were the kernel's, but for its end.
        let texts: Vec<String> =
            files.files.values().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
        let originals = call.asked().into_iter().zip(texts.iter().cycle().cloned()).collect();
        syscall::prepare(rules, call, base, &originals).map(|call| call.notes)
    });
    let tree = source::tree::Tree::of(rules, files);
    // Every other file is the kernel's.
    let originals: Vec<_> =
        (0..tree.asked().len()).map(|at| (at % 2 == 0).then(|| "old\n".to_owned())).collect();
    let tree = tree.changed(&originals).map(|changed| changed.notes);
    [module, patches, call, tree]
        .into_iter()
        .flat_map(|said| said.unwrap_or_else(|wrong| vec![wrong]))
        .collect()
}
