use crate::model::{Action, Argument, Data, Num};
use crate::{Scenario, parse_with, placeholders};
use base::diagnostic::Source;
use std::path::Path;

const TEXT: &str = "\
params:
  major: 240
  device: {type: path, default: /dev/one, about: where the driver is}
  call: {type: name}
  greeting:
steps:
  - mknod: ${device}
    char: [$major, 0]
  - write: 3
    data: $greeting
  - syscall: $call
  - run: [/bin/echo, 'major ${major} of ${device}']
expect:
  syscalls: {'${call}': 2}
";

fn with(text: &str, settings: &[(&str, &str)]) -> Result<Scenario, String> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse_with(Source::new(Path::new("a.yaml"), text), &settings).map_err(|errors| errors.to_string())
}

#[test]
fn in_an_expression_a_name_stands_for_itself() {
    let text = "params:\n  device: {type: name, default: my.drv-1}\n  more: 'a|b'\nsteps:\n  - file: /proc/devices\n    \
                expect: {data: {matches: '^ ${device}$'}}\n  - file: /x\n    expect: {data: {matches: '^(${more})$', contains: 'my.drv'}}\n";
    let scenario = parse_with(Source::new(Path::new("a.yaml"), text), &crate::Settings::new()).unwrap();
    let said = format!("{:?}", scenario.steps);
    assert!(said.contains(r"^ my\\.drv\\-1$") && said.contains("^(a|b)$"), "{said}");
}

#[test]
fn values_stand_wherever_values_and_keys_can() {
    let scenario =
        with(TEXT, &[("major", "0x105"), ("call", "csci_add"), ("greeting", "hi: [there]")]).unwrap();
    let actions: Vec<String> = scenario.steps.iter().map(|step| format!("{:?}", step.action)).collect();
    assert!(actions[0].contains("/dev/one") && actions[0].contains("Char(Int(261)"), "{}", actions[0]);
    assert!(matches!(&scenario.steps[1].action, Action::Write { data, .. } if *data == "hi: [there]".into()));
    assert!(actions[2].contains("csci_add"), "{}", actions[2]);
    assert!(actions[3].contains("major 0x105 of /dev/one"), "{}", actions[3]);
    assert!(format!("{:?}", scenario.expect.syscalls).contains("csci_add"));
    assert_eq!(scenario.notes, [""; 0]);
}

#[test]
fn a_drawn_value_is_another_one_each_time_and_is_told() {
    const DRAWN: &str = "params:\n  word: {draw: text, about: what is written}\n  major: {draw: int, at-least: 240, at-most: 254}\n\
                         steps:\n  - {run: [/bin/echo, $word]}\n  - {mknod: /dev/x, char: [$major, 0]}\n";
    let (one, other) = (with(DRAWN, &[]).unwrap(), with(DRAWN, &[]).unwrap());
    assert_ne!(one.drawn["word"], other.drawn["word"]);
    assert_eq!((one.drawn["word"].len(), one.drawn.len()), (12, 2));
    assert!((240..=254).contains(&one.drawn["major"].parse().unwrap()), "{:?}", one.drawn);
    assert!(format!("{:?}", one.steps[0].action).contains(&one.drawn["word"]));
    // Given again, it is the same run.
    let given = with(DRAWN, &[("word", &one.drawn["word"]), ("major", &one.drawn["major"])]).unwrap();
    assert!(given.drawn.is_empty());
    assert_eq!(format!("{:?}", given.steps), format!("{:?}", one.steps));
    for (text, wrong) in [
        ("{draw: text, default: x}", "has a default and is drawn"),
        ("{draw: text, type: int}", "is not of its type, which takes a number"),
        ("{draw: int, at-least: 3, at-most: 2}", "there is no such number"),
        ("{draw: int}", "at-least"),
        ("{draw: word}", "what to draw"),
        ("{draw: text, at-least: 3}", "known here: type, default, draw, about, length"),
        ("{draw: int, at-least: 3, at-most: 4, length: 3}", "draw, about, at-least, at-most"),
    ] {
        let text = format!("params: {{a: {text}}}\nsteps: [{{run: [/bin/echo, $a]}}]");
        let errors = with(&text, &[]).unwrap_err();
        assert!(errors.contains(wrong), "{errors}");
    }
    let errors = with("params: {a: {length: 3}}\nsteps: [{run: [/bin/echo, $a]}]", &[]).unwrap_err();
    assert!(errors.ends_with("known here: type, default, draw, about"), "{errors}");
}

#[test]
fn a_value_that_is_missing_or_of_another_type_is_shown_where_it_is_declared() {
    let errors = with(TEXT, &[("major", "many"), ("greeting", "x")]).unwrap_err();
    assert!(
        errors.contains("`major` was set to `many`, expected a number") && errors.contains("a.yaml:2"),
        "{errors}"
    );
    assert!(errors.contains("`call` has no value") && errors.contains("--set call=VALUE"), "{errors}");
    assert_eq!(errors.matches("error").count(), 2, "nothing is said of the rest: {errors}");
    let errors = with("params: {a: {type: int, default: x}}\nsteps: [{sleep: 1 s}]", &[]).unwrap_err();
    assert!(errors.contains("`a` has the value `x`"), "{errors}");
    let errors = with("params: {p: {type: path}}\nsteps: [{open: $p}]", &[("p", "dev/x")]).unwrap_err();
    assert!(errors.contains("an absolute path"), "{errors}");
}

#[test]
fn a_name_that_no_parameter_has_is_refused_with_the_nearest() {
    let all = [("call", "a"), ("greeting", "b"), ("mjaor", "1")];
    let errors = with(TEXT, &all).unwrap_err();
    assert!(errors.contains("there is no parameter `mjaor`") && errors.contains("`major`"), "{errors}");
    let errors = with("steps: [{sleep: 1 s}]", &[("a", "1")]).unwrap_err();
    assert!(errors.contains("params: {a: DEFAULT}"), "{errors}");
}

#[test]
fn values_are_no_names_and_steps_give_parameters_no_value() {
    let text = "params: {a: 1}\nsteps:\n  - open: /x\n    as: a\n";
    assert!(with(text, &[]).unwrap_err().contains("`a` is a parameter's name"));
    let text = "params: {major: 1}\nsteps:\n  - read: $majro\n";
    assert!(with(text, &[]).unwrap_err().contains("did you mean `major`?"));
}

#[test]
fn nothing_of_a_value_is_a_name() {
    let text = "params: {a: x}\nsteps:\n- open: /x\n  as: fd\n- {write: $fd, data: $a}\n- {write: $fd, data: '${a}{fd} $${a} ${a}${fd}'}\n\
                - syscall: 1\n  args: [$a, '$${fd}', $$fd, '${a}']\n  name: 'of ${a}'\n  expect: {oops: '${a}'}\n";
    for value in ["${fd}", "$fd", "$$fd", "$${fd}", "a$", "$", "${a}", "${1:-x}"] {
        let scenario = with(text, &[("a", value)]).unwrap();
        let data = |step: usize| match &scenario.steps[step].action {
            Action::Write { data, .. } => {
                let filled = data.filled(|name| if name == "fd" { Ok(7) } else { Err(name.to_owned()) });
                String::from_utf8(filled.unwrap().into_owned()).unwrap()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(data(1), value);
        assert_eq!(data(2), format!("{value}{{fd}} ${{a}} {value}7"));
        let Action::Syscall { args, .. } = &scenario.steps[3].action else { panic!("no call") };
        let texts = args.iter().map(|arg| match arg {
            Argument::Text(text) => Data::of_text(text).written().into_owned(),
            other => panic!("{other:?}"),
        });
        let texts: Vec<String> = texts.map(|text| String::from_utf8(text).unwrap()).collect();
        assert_eq!(texts, [value, "${fd}", "$fd", value]);
        assert!(
            args.iter().all(|arg| matches!(arg, Argument::Text(text) if placeholders(text).next().is_none()))
        );
        // Where no name can stand for anything, it is itself as well.
        assert_eq!(scenario.steps[3].name, Some(format!("of {value}")));
        let ending = scenario.steps[3].ending.as_ref().unwrap();
        assert_eq!(ending.pattern.contains.as_deref(), Some(value));
    }
    let scenario =
        with("params: {a: '$x'}\nsteps:\n- {script: 'echo $${a} $$a'}\n- {run: [/bin/echo, $a]}\n", &[])
            .unwrap();
    assert_eq!(scenario.steps[0].action.script().as_deref(), Some(&b"echo $${a} $$a"[..]));
}

#[test]
fn what_a_module_or_a_program_calls_match_is_no_expression() {
    let text = "params: {node: {default: /dev/a.b}}\nmodules: [../../modules/hello]\nsteps:\n- {insmod: helloModule, params: {match: $node, matches: '${node}'}}\n- {run: [/bin/true], env: {match: $node}, match: $node}\n";
    let scenario = with(text, &[]).unwrap();
    let Action::Insmod { params, .. } = &scenario.steps[0].action else { panic!("{:?}", scenario.steps[0]) };
    let given = |name: &str| (name.to_owned(), Some("/dev/a.b".to_owned()));
    assert_eq!(params[..], ["match", "matches"].map(given));
    let program = format!("{:?}", scenario.steps[1]);
    assert!(program.contains("match=/dev/a.b") && program.contains(r"/dev/a\\.b"), "{program}");
}

#[test]
fn an_error_says_how_a_text_that_looks_like_a_name_is_written() {
    for (data, help) in [("'${x}'", "write `$${x}` where no name is meant"), ("$x", "write `$$x` where")] {
        let errors = with(&format!("steps: [{{write: 3, data: {data}}}]"), &[]).unwrap_err();
        assert!(errors.contains(help) && errors.contains("write `as: x`"), "{errors}");
    }
    let errors = with("steps: [{read: $x}]", &[]).unwrap_err();
    assert!(!errors.contains("$$"), "{errors}");
}

#[test]
fn a_parameter_that_nothing_uses_is_noted() {
    let scenario = with("params: {a: 1, b: 2}\nsteps: [{sleep: $a s}]", &[]);
    assert!(scenario.is_err(), "`$a s` is no whole value, so it stays text");
    let scenario = with("params: {a: 1, b: 2}\nsteps: [{sleep: '${a} s'}]", &[]).unwrap();
    assert_eq!(scenario.notes, ["the parameter `b` is declared, and nothing uses it"]);
}

#[test]
fn a_text_is_no_number_whatever_is_in_it() {
    let text = "params:\n  word: {type: text, default: '7'}\n  count: {default: 7}\nsteps:\n- syscall: 1\n  args: [$word, $count]\n";
    let scenario = with(text, &[]).unwrap();
    let Action::Syscall { args, .. } = &scenario.steps[0].action else { panic!("no system call") };
    assert_eq!(args[..], [Argument::Text("7".into()), Argument::Num(Num::Int(7))]);
    assert!(with(text, &[("count", "many")]).is_err());
}

#[test]
fn scripts_are_the_shells() {
    let text = "params: {word: hello}\nsteps:\n- script: echo ${word}\n";
    let scenario = with(text, &[]).unwrap();
    assert_eq!(scenario.steps[0].action.script().as_deref(), Some(&b"echo ${word}"[..]));
    assert!(
        scenario.notes.iter().any(|note| note.contains("in the script of line 3 is the shell's")),
        "{:?}",
        scenario.notes
    );
    let given =
        with("params: {word: hello}\nsteps:\n- {script: 'echo ${word}', env: {word: $word}}\n", &[]).unwrap();
    assert_eq!(given.notes, [""; 0]);
    assert!(format!("{:?}", given.steps[0].action).contains("word=hello"));
}

#[test]
fn a_text_is_known_as_it_reads_in_a_scenario() {
    let text = "params: {n: 5, name: {type: name, default: a.b}}\nsteps:\n- {name: '$name', sleep: 1 s}\n- {name: '${n} of ${name}, ${x}, $n', sleep: 1 s}\n";
    let scenario = with(text, &[]).unwrap();
    let values: crate::Settings =
        [("n", "5"), ("name", "a.b")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (step, written) in scenario.steps.iter().zip(["$name", "${n} of ${name}, ${x}, $n"]) {
        assert_eq!(step.name.as_deref(), Some(&*crate::with_values(written, &values)));
    }
}
