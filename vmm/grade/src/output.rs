//! What comes out: tables and pages, all made from records.
//!
//! | file | for |
//! |---|---|
//! | `index.html`, `grades.csv` | the teacher |
//! | `students/NAME/teacher.html` | the teacher: all tests |
//! | `students/NAME/page.html`, `page.md` | the student: what may be seen |
//! | `students/NAME/results.json` | Gradescope |
//! | `students/NAME/build.txt` | what the build said |

mod causes;
mod grades;
mod gradescope;
mod html;
mod markdown;
mod page;
mod summary;

use crate::{
    assignment::Assignment,
    record::{Record, State},
    store::{self, file_name},
};
use base::text::plain;
use page::Reader;
use std::{fs, path::Path};

/// Writes all of it; `remarks` stand at the head of the teacher's page.
///
/// # Errors
/// Something can't be written, with what to do.
pub fn write(
    assignment: &Assignment,
    records: &[Record],
    remarks: &[String],
    out: &Path,
) -> Result<(), String> {
    for record in records {
        let folder = out.join("students").join(file_name(&record.student));
        fs::create_dir_all(&folder)
            .map_err(|error| format!("can't make the folder {}: {}", folder.display(), plain(&error)))?;
        let student = page::of(assignment, record, Reader::Student);
        let teacher = page::of(assignment, record, Reader::Teacher);
        let title = format!("{}: {}", assignment.title, record.student);
        let keep = |name: &str, text: String| store::write(&folder.join(name), text.as_bytes());
        keep("page.md", markdown::render(&student))?;
        keep("page.html", html::page(&title, &student))?;
        keep("teacher.html", html::page(&title, &teacher))?;
        keep("results.json", gradescope::render(assignment, record))?;
        keep("build.txt", build(record))?;
    }
    store::write(&out.join("grades.csv"), grades::render(assignment, records)?.as_bytes())?;
    store::write(&out.join("index.html"), summary::render(assignment, records, remarks).as_bytes())
}

/// A student's page as text, for the teacher or with what the student may see.
pub fn text(assignment: &Assignment, record: &Record, for_student: bool) -> String {
    let reader = if for_student { Reader::Student } else { Reader::Teacher };
    markdown::render(&page::of(assignment, record, reader))
}

/// What the build said, alone.
fn build(record: &Record) -> String {
    let warnings = record.build.warnings.iter().map(|warning| format!("{warning}\n"));
    let errors = record.build.errors.iter().map(|errors| format!("{errors}\n"));
    warnings.chain(errors).collect()
}

/// Points as people write them: `85 of 100`, or that they are not known.
fn points(record: &Record) -> String {
    match record.state {
        State::NotGraded => "not graded".to_owned(),
        _ => format!("{} of {}", record.points, record.of),
    }
}

#[cfg(test)]
#[path = "output_test.rs"]
mod tests;
