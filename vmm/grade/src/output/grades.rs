//! `grades.csv`: a line for each student, for a spreadsheet or an LMS.

use crate::{
    assignment::Assignment,
    intake::LATE,
    record::{Record, State, Test},
};

/// The table.
///
/// # Errors
/// It can't be made, which does not happen in memory.
pub fn render(assignment: &Assignment, records: &[Record]) -> Result<String, String> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let wrong = |error: csv::Error| format!("can't make grades.csv: {error}");
    let mut heads = vec!["student", "state", "points", "of", "deducted"];
    heads.extend(assignment.tests.iter().map(|test| test.name.as_str()));
    heads.push("remarks");
    table.write_record(&heads).map_err(wrong)?;
    for record in records {
        // An empty cell is no zero: nobody's average sinks for a machine's fault.
        let known = record.state != State::NotGraded;
        let cell = |points: crate::Points| if known { points.to_string() } else { String::new() };
        let mut cells = vec![harmless(&record.student), record.state.name().to_owned(), cell(record.points)];
        cells.push(record.of.to_string());
        cells.push(cell(record.penalties.iter().map(|it| it.points).sum()));
        for wanted in &assignment.tests {
            let test = record.tests.iter().find(|test| test.name == wanted.name);
            let points = test.filter(|test| test.not_graded.is_none()).map(|test| test.points.to_string());
            cells.push(points.unwrap_or_default());
        }
        let named = |what: &'static str, is: fn(&Test) -> bool| {
            record.tests.iter().filter(move |test| is(test)).map(move |test| format!("{what}: {}", test.name))
        };
        let tampered = named("tampered", Test::is_tampered);
        let unstable = named("unstable", |test| test.other.is_some());
        let late = record.overdue.then(|| LATE.to_owned());
        let remarks: Vec<String> =
            tampered.chain(record.why.iter().cloned()).chain(unstable).chain(late).collect();
        cells.push(harmless(&remarks.join(", ").replace('\n', " ")));
        table.write_record(&cells).map_err(wrong)?;
    }
    let bytes = table.into_inner().map_err(|error| format!("can't make grades.csv: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A spreadsheet takes a cell that begins like this for a formula, and where it writes `,` in numbers, cells end with `;`.
fn harmless(cell: &str) -> String {
    let cell = base::text::escape(cell).replace(';', ",");
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}
