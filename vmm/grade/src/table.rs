//! Parameters of single students, as a spreadsheet has them: a line for each, the first column is the student.

use std::{collections::BTreeMap, path::Path};

/// Reads a table; empty cells say nothing.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn read(path: &Path) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let wrong = |error: csv::Error| format!("{}: {error}", path.display());
    let text = base::input::read_text(path)
        .map_err(|error| format!("{}: {}", path.display(), base::text::plain(&error)))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let heads = reader.headers().map_err(wrong)?.clone();
    if heads.get(0) != Some("student") {
        return Err(format!("{}: the first column is to be called `student`", path.display()));
    }
    let mut table = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let student = record.get(0).unwrap_or_default().to_owned();
        let cells = heads.iter().zip(&record).skip(1).filter(|(_, cell)| !cell.is_empty());
        let cells = cells.map(|(head, cell)| (head.to_owned(), cell.to_owned())).collect();
        if table.insert(student.clone(), cells).is_some() {
            return Err(format!("{}:{line}: the student `{student}` has a second line", path.display()));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_each_student_what_its_cells_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("params.csv");
        std::fs::write(&path, "student, module,major\ns1, my_driver,261\n\"Ünal, B.\",,240\n").unwrap();
        let table = read(&path).unwrap();
        assert_eq!(table["s1"]["module"], "my_driver");
        assert_eq!(table["Ünal, B."], [("major".to_owned(), "240".to_owned())].into());
        std::fs::write(&path, "student,major\ns1,1\ns1,2\n").unwrap();
        assert!(read(&path).unwrap_err().contains("params.csv:3: the student `s1` has a second line"));
        std::fs::write(&path, "name,major\ns1,1\n").unwrap();
        assert!(read(&path).unwrap_err().contains("called `student`"));
        std::fs::write(&path, "student,major\ns1\n").unwrap();
        assert!(read(&path).is_err(), "a line that is too short");
    }
}
