//! Values of names in what is asked for.

use super::*;

#[test]
fn a_program_gets_the_values_of_names_in_all_that_it_is_given() {
    let mut first = step(vec![call(Role::Main, 39, vec![])]);
    first.binds = vec![Bind { name: "n".into(), from: Source::Value, of_process: false }];
    let stdin = plan::Data::of_text("in ${n}");
    let run = What::Run { argv: vec!["/bin/${n}".into()], env: vec!["N=${n}".into()], stdin, user: None };
    let second = step(vec![Op { role: Role::Main, what: run }]);
    let mut seen = None;
    events(&plan(vec![first, second]), |machine| {
        machine.boot();
        let request = machine.request().unwrap();
        machine.reply(request.id, returned(7));
        let request = machine.request().unwrap();
        machine.reply(request.id, Outcome::Exited { code: 0, open: vec![] });
        seen = Some(request.action);
    });
    let (argv, env) = (vec!["/bin/7".into()], vec!["N=7".into()]);
    assert_eq!(seen, Some(Action::Run { argv, env, stdin: b"in 7".to_vec(), user: None }));
}
