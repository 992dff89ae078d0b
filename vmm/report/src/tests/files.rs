//! Reports that are kept: whole, read again, merged, compared.

use super::*;

#[test]
fn json_of_a_run_that_was_cut_off_is_whole_and_no_pass() {
    let scenario = scenario(CHARDEV);
    let all = judged(&scenario, &good_run(&scenario));
    for length in 1..all.len() {
        let object = written(&all[..length]);
        assert_eq!(object["verdict"], "infra");
        let steps = object["steps"].as_array().unwrap();
        assert_eq!(steps.len(), scenario.steps.len());
        let done = all[..length].iter().filter(|judged| matches!(judged, Judged::Step(_))).count();
        let listed = steps.iter().filter(|step| step["verdict"] == "pass").count();
        assert_eq!(listed, done);
    }
    assert_eq!(written(&all)["verdict"], "pass");
}

#[test]
fn a_report_that_can_not_be_written_is_found_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let create = |path: &std::path::Path| Files::default().add(path, json::render);
    assert!(create(folder.path()).is_err_and(|why| why.contains("it is a folder")));
    assert!(create(&folder.path().join("missing/out.json")).is_err());
    let fine = folder.path().join("out.json");
    create(&fine).unwrap();
    assert!(!fine.exists(), "nothing is written before the run begins");
}

#[test]
fn a_report_that_is_read_again_gives_the_same_reports() {
    let session = recorded();
    let text = json::render(&session);
    fits_the_schema(&serde_json::from_str(&text).unwrap());
    let again = json::read(&text).unwrap();
    for render in [
        json::render,
        crate::junit::render,
        crate::ktap::render,
        crate::markdown::render,
        crate::html::render,
    ] {
        assert_eq!(render(&again), render(&session));
    }
    assert_eq!(crate::summary::text(&again), crate::summary::text(&session));
}

#[test]
fn what_is_no_report_or_another_versions_is_refused() {
    let error = |text: &str| json::read(text).unwrap_err().to_string();
    assert!(error("{").contains("no JSON"));
    assert!(error("{}").contains("no report of vmm"));
    assert!(error("{\"schema\": 1}").contains("schema 1, and this vmm reads 2"));
    let text = json::render(&recorded());
    assert!(
        error(&text.replace("\"flaky\": false", "\"x\": 1").replace("\"variant\"", "\"v\""))
            .contains("`variant`")
    );
    assert!(error(&text.replace("\"verdict\": \"fail\"", "\"verdict\": \"green\"")).contains("`green`"));
    // Numbers that are cut off would name another part.
    let shard = |shard: &str| error(&text.replacen("\"shard\": null", &format!("\"shard\": {shard}"), 1));
    assert!(shard(r#"{"index": 4294967297, "of": 2, "plan": "p"}"#).contains("`index` is too large"));
    for index in [0, 3] {
        let wrong = shard(&format!(r#"{{"index": {index}, "of": 2, "plan": "p"}}"#));
        assert!(wrong.contains(&format!("no shard {index} of 2")), "{wrong}");
    }
}

#[test]
fn each_scenario_leaves_a_folder_with_what_is_needed_to_look_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut artifacts = crate::artifacts::Artifacts::create(&folder.path().join("a/b")).unwrap();
    let kernel = || vec!["--source".to_owned(), "my linux".to_owned()];
    let asked = [
        crate::artifacts::Asked::default(),
        crate::artifacts::Asked { kernel: kernel(), ..Default::default() },
        crate::artifacts::Asked { kernel: kernel(), adds_fragments: true, piped: Some("steps: []\n".into()) },
    ];
    artifacts = artifacts.with(vec!["--set".to_owned(), "whom=a b".to_owned()], asked.into());
    let (began, all) = session();
    artifacts.begin(&began).unwrap();
    // What was drawn for a run is given to it again.
    let drawn = |judged: &Judged| match judged {
        Judged::Began(began) => Judged::Began(judge::Began {
            drawn: [("word".to_owned(), "k3 m9".to_owned())].into(),
            ..began.clone()
        }),
        other => other.clone(),
    };
    all.iter().for_each(|judged| artifacts.event(&drawn(judged)).unwrap());
    let place = |name: &str| folder.path().join("a/b").join(name);
    let mut names: Vec<String> = std::fs::read_dir(place(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["001-good@6.12", "002-bad___b____x_@6.12", "003-good@7.3", "004-bad___b____x_@7.3"]);
    let read = |name: &str| std::fs::read_to_string(place("002-bad___b____x_@6.12").join(name)).unwrap();
    let repeat = read("repeat.sh");
    assert!(
        repeat.ends_with("fi\nexec vmm run scenarios/test.yaml --set 'word=k3 m9' --set 'whom=a b' \"$@\"\n"),
        "{repeat}"
    );
    let said = |run: &str, is_there: &str| {
        let fake = folder.path().join("vmm");
        let script = format!("#!/bin/sh\n[ $1 = run ] || {is_there}\necho \"$@\"\n[ $2 != - ] || cat\n");
        std::fs::write(&fake, script).unwrap();
        std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut shell = std::process::Command::new("/bin/sh");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        shell.arg(place(run).join("repeat.sh")).arg("--cold").env("PATH", path);
        String::from_utf8(shell.output().unwrap().stdout).unwrap()
    };
    // Elsewhere nobody has the kernel by its hash.
    for (is_there, kernel) in [("exit 0", "--kernel 3f9c1a2b7d"), ("exit 1", "--source my linux")] {
        let said = said("002-bad___b____x_@6.12", is_there);
        assert!(said.ends_with(&format!("{kernel} --cold\n")), "{said}");
    }
    // With the scenario's own fragments that kernel would be refused; and a pipe's text is nowhere else.
    let said = said("003-good@7.3", "exit 0");
    assert!(said.starts_with("run - ") && !said.contains("--kernel"), "{said}");
    assert!(said.ends_with("--source my linux --cold\nsteps: []\n"), "{said}");
    assert!(read("verdict").starts_with("fail\n1 of 1 steps failed"));
    let report = json::read(&read("report.json")).unwrap();
    assert_eq!((report.runs.len(), &*report.runs[0].began.drawn["word"]), (1, "k3 m9"));
    assert!(
        crate::artifacts::Artifacts::create(&place("001-good@6.12/verdict")).is_err(),
        "a file is no folder"
    );
}

/// What a real browser makes of the page, where there is one.
#[test]
fn a_browser_shows_the_page_and_its_filter_and_runs_nothing_of_a_guests() {
    let Some(browser) = ["chromium", "google-chrome", "chromium-browser"].into_iter().find(|name| {
        std::process::Command::new(name).arg("--version").output().is_ok_and(|it| it.status.success())
    }) else {
        eprintln!("there is no Chromium here: the page was not looked at");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    let page = crate::html::render(&recorded());
    assert!(!page.contains("<b>|"), "a scenario's name is text");
    // A script of somebody else's would change the title, if it ran.
    let evil = page.replacen(
        "<h1>",
        "<script>document.title = 'evil'</script><img src=x onerror=\"document.title='evil'\"><h1>",
        1,
    );
    std::fs::write(&path, evil).unwrap();
    let output = std::process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("<title>vmm: 2 of 5 scenarios passed</title>"), "{dom}");
    assert!(dom.contains("5 of 5 shown"), "its own script ran: {dom}");
    assert!(dom.matches("class=\"scenario\"").count() == 5, "{dom}");
}

#[test]
fn a_file_is_whole_from_the_beginning_and_after_everything_that_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("junit.xml");
    let (began, all) = session();
    let mut file = Files::default();
    file.add(&path, crate::junit::render).unwrap();
    let read =
        || quick_junit::Report::deserialize_from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file.begin(&began).unwrap();
    assert_eq!((read().tests, read().errors), (11, 6), "nothing has run, and nothing passes");
    for judged in &all {
        file.event(judged).unwrap();
        assert_eq!(read().tests, 11);
    }
    file.finish().unwrap();
    assert_eq!((read().tests, read().failures, read().errors), (10, 2, 1));
}

#[test]
fn an_old_run_is_shown_as_it_was() {
    let scenario = scenario(CHARDEV);
    let all = judged(&scenario, &good_run(&scenario));
    let mut session = crate::record::Session::default();
    all.iter().for_each(|judged| _ = session.event(judged));
    session.finished = true;
    let again = json::read(&json::render(&session)).unwrap();
    let page = Page::default();
    let mut terminal = Terminal::new(Box::new(page.clone()), false);
    crate::show::show(&again, &mut terminal, &mut std::io::sink()).unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    // The running kernel told its release later than that line.
    let others = |text: &str| {
        text.lines().filter(|it| !it.starts_with("kernel ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(others(&text), others(&shown(&all, false)));
}

fn part(index: u32, of: u32, plan: &str, runs: std::ops::Range<usize>) -> crate::record::Session {
    let mut session = recorded();
    session.runs = session.runs.drain(runs).collect();
    session.shard = Some(crate::record::Shard { index, of, plan: plan.into(), run: Some("7".into()) });
    session
}

#[test]
fn only_all_parts_of_one_run_make_a_whole() {
    use crate::merge::{MergeError, merge};
    let named = |parts: Vec<crate::record::Session>| {
        parts.into_iter().enumerate().map(|(at, part)| (format!("{at}.json"), part)).collect::<Vec<_>>()
    };
    let whole = merge(named(vec![part(2, 2, "p", 2..5), part(1, 2, "p", 0..2)])).unwrap();
    assert_eq!((whole.runs.len(), whole.finished, whole.shard), (5, true, None));
    let error = |parts| merge(named(parts)).unwrap_err();
    let names = ("0.json".to_owned(), "1.json".to_owned());
    assert_eq!(error(vec![]), MergeError::Nothing);
    let missing = MergeError::Missing { of: 3, missing: "1, 3".into() };
    assert_eq!(error(vec![part(2, 3, "p", 0..2)]), missing);
    let MergeError::Missing { missing, .. } = error(vec![part(1, u32::MAX, "p", 0..2)]) else { panic!() };
    assert!(missing.starts_with("2, 3, ") && missing.ends_with("17, 4294967278 more"), "{missing}");
    let twice = error(vec![part(1, 2, "p", 0..2), part(1, 2, "p", 2..5)]);
    assert_eq!(twice, MergeError::Twice(names.0.clone(), names.1.clone()));
    let other = error(vec![part(1, 2, "p", 0..2), part(2, 2, "q", 2..5)]);
    assert_eq!(other, MergeError::Other(names.0.clone(), names.1.clone()));
    let mut former = part(2, 2, "p", 2..5);
    former.shard.as_mut().unwrap().run = Some("6".into());
    let former = error(vec![part(1, 2, "p", 0..2), former]);
    assert_eq!(former, MergeError::Former(names.0.clone(), names.1.clone(), "7".into(), "6".into()));
    let mixed = error(vec![part(1, 1, "p", 0..2), recorded()]);
    assert_eq!(mixed, MergeError::Mixed(names.0.clone(), names.1.clone()));
    assert!(matches!(error(vec![recorded(), recorded()]), MergeError::Again { .. }));
}

/// One scenario whose attempts came to these.
pub(super) fn attempts(all: &[(Verdict, judge::Then)]) -> crate::record::Session {
    let scenario = scenario("name: again\nsteps:\n- sleep: 1 s\n");
    let mut session = crate::record::Session::default();
    let mut told = Vec::new();
    for (index, (verdict, then)) in all.iter().enumerate() {
        for judged in judged(&scenario, &good_run(&scenario)) {
            session.event(&match judged {
                Judged::Began(began) => Judged::Began(judge::Began { attempt: index as u32 + 1, ..began }),
                Judged::Ended(report) => {
                    let reason = judge::Reason::Told(format!("attempt {index}"));
                    Judged::Ended(Box::new(judge::RunReport { verdict: *verdict, reason, ..*report }))
                }
                other => other,
            });
        }
        let attempt = judge::Attempt { then: *then, ..judge::fixture::attempt(*verdict) };
        if index + 1 < all.len() {
            session.event(&Judged::Attempt(Box::new(attempt.clone())));
        }
        told.push(attempt);
    }
    session.event(&Judged::Settled(Box::new(judge::Settled::of(told).strict())));
    session.finished = true;
    session
}

#[test]
fn the_attempt_that_decided_is_shown() {
    use judge::Then::{Counts, FreshHost, Retried};
    let (infra, pass) = ((Verdict::Infra, FreshHost), (Verdict::Pass, Counts));
    let (fail, retried) = ((Verdict::Fail, Counts), (Verdict::Fail, Retried));
    for (all, verdict, decided) in [
        (&[infra, pass, fail, pass][..], Verdict::Fail, 2),
        // Of several with one verdict, too.
        (&[pass, fail, pass, fail], Verdict::Fail, 1),
        (&[retried, retried, fail], Verdict::Fail, 2),
        (&[retried, fail, fail], Verdict::Fail, 1),
        (&[infra, infra, (Verdict::Infra, Counts)], Verdict::Infra, 2),
        (&[pass, pass], Verdict::Pass, 1),
    ] {
        let session = attempts(all);
        let run = &session.runs[0];
        let came = (run.verdict(), run.reason(), run.began.attempt as usize);
        assert_eq!(came, (Some(verdict), format!("attempt {decided}"), decided + 1), "{all:?}");
    }
}

#[test]
fn a_flaky_pass_that_counts_as_a_failure_is_one_in_every_report() {
    use judge::Then::{Counts, Retried};
    let session = attempts(&[(Verdict::Splat, Retried), (Verdict::Pass, Counts)]);
    let again = json::read(&json::render(&session)).unwrap();
    for session in [&session, &again] {
        assert_eq!((session.runs[0].word(), session.runs[0].counted()), ("flaky", Verdict::Splat));
        let object: serde_json::Value = serde_json::from_str(&json::render(session)).unwrap();
        fits_the_schema(&object);
        assert_eq!(object["verdict"], "splat");
        assert_eq!(object["counted"], serde_json::json!({ "splat": 1 }), "ci/run reads it");
        assert!(crate::junit::render(session).contains("failures=\"1\""));
        assert!(crate::ktap::render(session).contains("not ok 1"));
        assert!(crate::markdown::render(session).contains("0 of 1 scenarios passed"));
    }
}

#[test]
fn events_tell_what_counts_and_a_flaky_pass_that_counts_as_a_failure_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut events = crate::events::Events::create(&path).unwrap();
    let attempt = |verdict, then| judge::Attempt { then, ..judge::fixture::attempt(verdict) };
    let flaky =
        vec![attempt(Verdict::Splat, judge::Then::Retried), attempt(Verdict::Pass, judge::Then::Counts)];
    let flaky = judge::Settled::of(flaky);
    for settled in [flaky.clone(), flaky.strict()] {
        events.event(&Judged::Settled(Box::new(settled))).unwrap();
    }
    events.finish().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!([&lines[0]["counted"], &lines[1]["counted"]], ["pass", "splat"]);
    assert_eq!((&lines[2]["passed"], &lines[2]["ended"]), (&1.into(), &2.into()));
}

#[test]
fn a_former_report_of_a_run_that_never_began_is_replaced_and_nothing_else_is() {
    use crate::record::Aborted;
    let folder = tempfile::tempdir().unwrap();
    let why = Aborted { verdict: Verdict::BadInput, reason: "a.yaml:3: no <such> step".into() };
    let scenario = folder.path().join("a.yaml");
    std::fs::write(&scenario, "steps:\n").unwrap();
    let renders: [(crate::Render, &str); 6] = [
        (json::render, "\"verdict\": \"bad-input\""),
        (crate::junit::render, "errors=\"1\""),
        (crate::ktap::render, "Bail out! "),
        (crate::markdown::render, "**bad-input**"),
        (crate::html::render, "&lt;such&gt;"),
        (crate::events::aborted, "\"aborted\""),
    ];
    for (render, expected) in renders {
        let path = folder.path().join("report");
        std::fs::write(&path, render(&recorded())).unwrap();
        crate::abandon(&path, render, &why);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(expected) && text.contains("a.yaml:3"), "{text}");
        crate::abandon(&scenario, render, &why);
        assert_eq!(std::fs::read_to_string(&scenario).unwrap(), "steps:\n");
    }
    let path = folder.path().join("new.json");
    crate::abandon(&path, json::render, &why);
    let text = std::fs::read_to_string(&path).unwrap();
    fits_the_schema(&serde_json::from_str(&text).unwrap());
    let again = json::read(&text).unwrap();
    assert_eq!((again.aborted, again.finished), (Some(why), false));
}

#[test]
fn events_of_a_guest_that_writes_without_end_have_a_bound_and_say_what_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut events = crate::events::Events::create(&path).unwrap();
    let scenario = scenario(SYSCALL);
    let run = judged(&scenario, &good_run(&scenario));
    let (end, before) = run.split_last().unwrap();
    let flood = vec![Judged::Console(vec![b'x'; 1000]); 1000];
    // As well in the next run.
    for run in [&flood[..], &[]] {
        before.iter().chain(run).chain([end]).for_each(|judged| events.event(judged).unwrap());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() < 200_000, "{}", text.len());
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |what: &str| lines.iter().filter(|line| line["event"] == what).collect::<Vec<_>>();
    let told = of("console").len();
    assert!((50..100).contains(&told), "{told}");
    let [left_out] = of("left-out")[..] else { panic!("{text}") };
    assert_eq!(left_out["console_bytes"], 1000 * (1000 - told));
    let places: Vec<usize> = (0..lines.len())
        .filter(|at| ["left-out", "ended"].contains(&lines[*at]["event"].as_str().unwrap()))
        .collect();
    assert_eq!(places[0] + 1, places[1], "before the end");
}

#[test]
fn events_of_a_pipe_without_a_reader_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let path = fifo.clone();
    // It comes late.
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        std::fs::read_to_string(path).unwrap()
    });
    let mut events = crate::events::Events::create(&fifo).unwrap();
    events.finish().unwrap();
    drop(events);
    assert!(reader.join().unwrap().contains("\"finished\""));
    let error = crate::events::Events::create(&fifo).map(drop).unwrap_err();
    assert!(error.contains("nobody reads it"), "{error}");
}

#[test]
fn a_part_that_could_not_begin_stands_for_a_missing_one_and_says_why() {
    use crate::{merge::MergeError, record::Aborted};
    let never = |verdict, reason: &str| {
        let mut session = crate::record::Session::planned(&[]);
        session.aborted = Some(Aborted { verdict, reason: reason.into() });
        // As the file that it left is read.
        json::read(&json::render(&session)).unwrap()
    };
    let merge = |parts: Vec<crate::record::Session>| {
        let named = parts.into_iter().enumerate().map(|(index, part)| (index.to_string(), part));
        crate::merge::merge(named.collect())
    };
    let infra = || never(Verdict::Infra, "no place for the cache");
    for parts in [vec![infra(), part(2, 2, "p", 2..5)], vec![part(1, 2, "p", 0..2), infra()]] {
        let whole = merge(parts).unwrap();
        let why = whole.unfinished().unwrap();
        assert_eq!(why.verdict, Verdict::Infra);
        assert!(why.reason.ends_with(": no place for the cache") && !whole.runs.is_empty(), "{}", why.reason);
    }
    let both = merge(vec![infra(), part(2, 3, "p", 2..5), never(Verdict::BadInput, "a typo")]).unwrap();
    let why = both.unfinished().unwrap();
    assert_eq!((why.verdict, &*why.reason), (Verdict::BadInput, "0: no place for the cache\n2: a typo"));
    // It was run again, under another name.
    let whole = merge(vec![infra(), part(1, 2, "p", 0..2), part(2, 2, "p", 2..5)]).unwrap();
    assert_eq!((whole.unfinished(), whole.runs.len()), (None, 5));
    let lacks = merge(vec![infra(), part(2, 4, "p", 2..5)]).unwrap_err();
    assert!(matches!(lacks, MergeError::Missing { .. }), "{lacks}");
    assert_eq!(merge(vec![infra()]).unwrap().unfinished().unwrap().verdict, Verdict::Infra);
}

#[test]
fn a_part_that_was_cut_off_makes_a_whole_that_is_no_pass() {
    let mut cut_off = part(2, 2, "p", 2..5);
    cut_off.finished = false;
    let parts = [part(1, 2, "p", 0..2), cut_off].map(|part| ("a".to_owned(), part));
    let whole = crate::merge::merge(parts.into()).unwrap();
    assert_eq!(whole.unfinished().map(|it| it.verdict), Some(Verdict::Infra));
    let junit = crate::junit::render(&whole);
    assert!(junit.contains("cut off before its end"), "{junit}");
}
