use super::*;
use crate::{intake, points::Points, record::Build};
use std::{fs, path::Path};

fn assignment(folder: &Path, name: &str, points: u32) -> Assignment {
    fs::write(folder.join("t.yaml"), "params: {n: 1}\nsteps: [{sleep: 1 s, name: $n}]").unwrap();
    fs::write(folder.join("table.csv"), "student,n\ndoe,2\nrow,3\n").unwrap();
    let path = folder.join(format!("{name}.yaml"));
    let text = format!(
        "name: {name}\nkind: module\ntable: table.csv\nattempts: '^(?<student>[a-z]+)_.*'\ntests: [{{scenario: t.yaml, points: {points}}}]\n"
    );
    fs::write(&path, text).unwrap();
    Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A folder with the grade of one student.
fn graded(out: &Path, assignment: &Assignment, student: &str) -> PathBuf {
    let record = Record {
        key: String::new(),
        assignment: Made { name: assignment.name.clone(), identity: assignment.identity.clone() },
        student: student.into(),
        overdue: false,
        state: State::Graded,
        why: None,
        notes: Vec::new(),
        params: BTreeMap::new(),
        build: Build::default(),
        tests: Vec::new(),
        penalties: Vec::new(),
        points: Points::NONE,
        of: assignment.points(),
        took_ms: 1,
        late: false,
    };
    let out = out.join(format!("{}-{student}", assignment.name));
    Store::open(&out).unwrap().keep(&record).unwrap();
    out
}

fn nowhere() -> Grading {
    Grading {
        host: Choice::Auto,
        jobs: 1,
        only: Vec::new(),
        shard: None,
        out: PathBuf::new(),
        whose: Whose::Students,
        remarks: Vec::new(),
        is_due: false,
    }
}

#[test]
fn what_is_for_after_the_due_date_is_shown_then_and_what_is_hidden_never() {
    let folder = tempfile::tempdir().unwrap();
    let assignment = assignment(folder.path(), "pa2", 5);
    let out = graded(folder.path(), &assignment, "a");
    let mut record = Store::read(&out).records.remove(0);
    record.state = State::Graded;
    record.tests = ["visible", "after_due_date", "hidden"]
        .map(|visibility| crate::record::Test {
            name: format!("the {} one", visibility.replace('_', " ")),
            visibility: visibility.to_owned(),
            hint: None,
            points: Points::NONE,
            of: assignment.points(),
            run: None,
            other: None,
            not_graded: None,
        })
        .into();
    let page = |is_due: bool| {
        let grading = Grading { out: out.clone(), is_due, ..nowhere() };
        write(&assignment, std::slice::from_ref(&record), &grading).map_err(|abort| abort.why).unwrap();
        fs::read_to_string(out.join("students/a/page.md")).unwrap()
    };
    for (is_due, shown) in [(false, [true, false, false]), (true, [true, true, false])] {
        let page = page(is_due);
        let found = ["visible", "after_due_date", "hidden"]
            .map(|it| page.contains(&format!("the {} one", it.replace('_', " "))));
        assert_eq!(found, shown, "{page}");
    }
}

#[test]
fn grades_of_another_assignment_or_version_are_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let [older, other, mine] =
        [("pa2", 5), ("pa1", 10), ("pa2", 10)].map(|(name, points)| assignment(folder.path(), name, points));
    let [first, second, older, other] = [(&mine, "a"), (&mine, "b"), (&older, "c"), (&other, "d")]
        .map(|(it, student)| graded(folder.path(), it, student));
    let into = |name: &str| Grading { out: folder.path().join(name), ..nowhere() };
    let both = merge(&mine, &[first.clone(), second], &into("out")).unwrap();
    assert_eq!(both.iter().map(|it| &*it.student).collect::<Vec<_>>(), ["a", "b"]);
    for (wrong, says) in
        [(older, "another version of `pa2`"), (other, "another assignment, `pa1`: that of d")]
    {
        let why = merge(&mine, &[first.clone(), wrong], &into("none")).unwrap_err().why;
        assert!(why.contains(says), "{why}");
        assert!(!folder.path().join("none").exists(), "nothing is written");
    }
}

#[test]
fn parts_that_are_missing_or_damaged_are_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let assignment = assignment(folder.path(), "pa2", 5);
    // Each is in one part, whoever else hands in.
    let of = |part| ["a", "b", "c", "d", "e"].into_iter().find(|student| is_in((part, 2), student)).unwrap();
    let (one, other) = (of(1), of(2));
    assert!(!is_in((2, 2), one) && !is_in((1, 2), other));
    let [first, second] = [one, other].map(|student| graded(folder.path(), &assignment, student));
    let shard = |out: &Path, part: usize| Store::open(out).unwrap().is_shard(Some((part, 2))).unwrap();
    shard(&first, 1);
    shard(&second, 2);
    let into = || Grading { out: folder.path().join("out"), ..nowhere() };
    let why = merge(&assignment, std::slice::from_ref(&first), &into()).unwrap_err().why;
    assert!(why.contains("of shard 2/2"), "{why}");
    assert_eq!(merge(&assignment, &[first.clone(), second.clone()], &into()).unwrap().len(), 2);
    // What an earlier grading of more left there, another part has anew.
    let mut stale: Record =
        serde_json::from_slice(&fs::read(first.join(format!("records/{one}.json"))).unwrap()).unwrap();
    stale.took_ms = 99;
    fs::write(second.join(format!("records/{one}.json")), serde_json::to_vec(&stale).unwrap()).unwrap();
    let merged = merge(&assignment, &[first.clone(), second.clone()], &into()).unwrap();
    assert_eq!((merged.len(), merged.iter().find(|it| it.student == one).unwrap().took_ms), (2, 1));
    fs::write(second.join(format!("records/{other}.json")), "{").unwrap();
    let why = merge(&assignment, &[first, second], &into()).unwrap_err().why;
    assert!(why.contains(&format!("can't be read, {other}.json")), "{why}");
}

#[test]
fn who_is_gone_blocks_no_merge_and_stands_in_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let [older, mine] = [5, 10].map(|points| assignment(folder.path(), "pa2", points));
    let [part, anna] = [(&older, "carol"), (&mine, "anna")].map(|(it, who)| graded(folder.path(), it, who));
    Store::open(&part).unwrap().keep(&Store::read(&anna).records[0]).unwrap();
    fs::write(part.join("records/dan.json"), "{").unwrap();
    let into = || Grading { out: folder.path().join("out"), ..nowhere() };
    let merged = |folders: &[&PathBuf]| {
        let folders: Vec<PathBuf> = folders.iter().map(|it| (*it).clone()).collect();
        merge(&mine, &folders, &into()).map(|all| all.into_iter().map(|it| it.student).collect::<Vec<_>>())
    };
    let hand_in = |out: &Path, students: &[&str], are_all: bool| {
        let students: Vec<String> = students.iter().map(|it| (*it).to_owned()).collect();
        Store::open(out).unwrap().is_of_these(&students, are_all).unwrap();
    };
    hand_in(&part, &["anna"], false);
    assert!(merged(&[&part]).is_err(), "nobody is known to be gone");
    hand_in(&part, &["anna"], true);
    let bob = graded(folder.path(), &mine, "bob");
    assert_eq!(merged(&[&part, &bob]).unwrap(), ["anna", "bob"]);
    // A later merge is no less.
    merged(&[&part]).unwrap();
    assert_eq!(Store::read(&into().out).records.len(), 1);
    hand_in(&part, &["carol"], false);
    assert!(merged(&[&part]).unwrap_err().why.contains("that of carol"));
}

#[test]
fn two_gradings_do_not_write_to_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    let why = Store::open(folder.path()).err().unwrap();
    assert!(why.contains("another `vmm grade` writes to"), "{why}");
    drop(first);
    assert!(Store::open(folder.path()).is_ok());
}

#[test]
fn a_record_that_can_not_be_kept_ends_nobody_elses_grading() {
    let folder = tempfile::tempdir().unwrap();
    let assignment = assignment(folder.path(), "pa2", 5);
    let common = Common {
        assignment: &assignment,
        kernel: String::new(),
        cache: Cache::at(&folder.path().join("cache")).unwrap(),
        base: None,
        own_kernels: Mutex::default(),
        building: Mutex::default(),
        alone: AtomicBool::default(),
    };
    let store = Store::open(&folder.path().join("out")).unwrap();
    let read = |student: &&str| common.unread(intake::single(folder.path(), student), "no matter".to_owned());
    let run = |students: &[&str], tell: &(dyn Fn(&Record, bool) + Sync)| {
        work(&common, students.iter().map(read).collect(), 1, Choice::Auto, &store, tell)
    };
    let kept = || store.found().records.into_iter().map(|it| it.student).collect::<Vec<_>>();
    // Of the last, which is the first to be graded, it can't be written.
    let path = folder.path().join("out/records/c.json");
    fs::create_dir_all(&path).unwrap();
    let told = Mutex::new(0);
    let worked = run(&["a", "b", "c"], &|_, _| *told.lock().unwrap() += 1);
    assert_eq!(worked.unkept.iter().map(|(student, _)| &**student).collect::<Vec<_>>(), ["c"]);
    assert!(worked.unkept[0].1.contains("c.json"), "{:?}", worked.unkept);
    assert_eq!((kept(), *told.lock().unwrap()), (vec!["a".to_owned(), "b".to_owned()], 3));
    // While others are graded there is room again.
    let worked = run(&["d", "c"], &|record, _| {
        if record.student == "d" {
            fs::remove_dir(&path).unwrap();
        }
    });
    assert!(worked.unkept.is_empty());
    assert_eq!(kept(), ["a", "b", "c", "d"]);
    // There is room for those who get another attempt, or their grader is stopped before.
    let of = |stopped: bool, late: &[&str], unkept: &[&str]| {
        let unkept = unkept.iter().map(|student| ((*student).to_owned(), "full".to_owned())).collect();
        Worked { stopped, late: late.iter().map(read).collect(), unkept }
    };
    for (again, left) in [
        (of(false, &[], &[]), &["b"][..]),
        (of(false, &[], &["a"]), &["b", "a"]),
        (of(true, &[], &[]), &["a", "b"]),
    ] {
        let stopped = again.stopped;
        let all = of(false, &["a", "c"], &["a", "b"]).and_late(|late| {
            assert_eq!(late.len(), 2);
            again
        });
        assert_eq!(all.unkept.iter().map(|(student, _)| &**student).collect::<Vec<_>>(), left);
        assert_eq!(all.stopped, stopped);
    }
    let stopped = of(true, &["a"], &["a"]).and_late(|_| unreachable!("it was stopped"));
    assert_eq!(stopped.unkept.len(), 1);
}

/// A check would have the whole class go from its tables.
#[test]
fn solutions_and_students_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let assignment = assignment(folder.path(), "pa2", 5);
    let before = graded(folder.path(), &assignment, "a");
    let of = |out: &Path, whose: Whose| Store::open(out).unwrap().is_of(whose);
    // An earlier version's, which has no mark, is a class's.
    let why = of(&before, Whose::Solutions).unwrap_err();
    assert!(why.contains("has grades of students") && why.contains("--out"), "{why}");
    of(&before, Whose::Students).unwrap();
    let mine = Grading { out: before.clone(), whose: Whose::Solutions, ..nowhere() };
    let why = all(&assignment, Vec::new(), &mine, &|_, _| ()).err().unwrap();
    assert_eq!(why.verdict, judge::Verdict::BadInput);
    assert_eq!(Store::read(&before).records.len(), 1);
    let checked = folder.path().join("checked");
    of(&checked, Whose::Solutions).unwrap();
    of(&checked, Whose::Solutions).unwrap();
    assert!(of(&checked, Whose::Students).unwrap_err().contains("has grades of solutions"));
    let why = merge(&assignment, &[checked], &Grading { out: folder.path().join("out"), ..nowhere() });
    assert!(why.unwrap_err().why.contains("no student's grades"));
}

#[test]
fn names_that_fit_nowhere_are_told_before_anything_is_graded() {
    let folder = tempfile::tempdir().unwrap();
    let submissions = folder.path().join("s");
    fs::create_dir(&submissions).unwrap();
    for name in ["doe_a.c", "roe_a.c", "Notes.txt"] {
        fs::write(submissions.join(name), "").unwrap();
    }
    let assignment = assignment(folder.path(), "pa2", 5);
    let listing = intake::list(&submissions, assignment.attempts.as_ref(), Path::new("grades")).unwrap();
    let wanted = [
        "left out, since their names are not as `attempts:` has it: Notes.txt",
        "the table has a line for `row`, who handed in nothing (did you mean `roe`?)",
    ];
    assert_eq!(remarks(&assignment, &listing), wanted);
}
