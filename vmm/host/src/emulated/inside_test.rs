use super::*;
use board::wire::Spec;
use plan::Watch;
use std::os::unix::net::UnixStream;

const KEY: Key = [7; 16];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn pair() -> (Link, Link) {
    let (a, b) = UnixStream::pair().unwrap();
    (Link::new(a).unwrap(), Link::new(b).unwrap())
}

/// Reads until the call is answered, and gives back what came behind the answer.
fn await_answer(link: &mut Link, call: &Call) -> Vec<u8> {
    let mut stream = Vec::new();
    let deadline = soon();
    while Instant::now() < deadline {
        stream.extend(link.receive_raw(deadline).unwrap());
        if let Some((key, rest)) = call.answered(&stream) {
            assert_eq!(key, KEY);
            return rest.to_vec();
        }
    }
    panic!("the call was not answered");
}

fn run_order() -> ToHost {
    ToHost::Run { plan: Box::new(plan()), now: Duration::from_secs(1_000_000_000) }
}

fn plan() -> Plan {
    let machine = Spec {
        kernel: "/mine/vmlinux".into(),
        initramfs: "/mine/initramfs".into(),
        memory_mib: 64,
        vcpus: 1,
        command_line: vec![],
        landmarks: Default::default(),
        announce: Default::default(),
        start: Default::default(),
        forgets: false,
    };
    let (luggage, boot_timeout) = ("/mine/luggage".into(), Duration::from_secs(1));
    Plan {
        machine,
        luggage,
        programs: Default::default(),
        warm: None,
        boot_timeout,
        steps: vec![],
        watch: Watch::Nothing,
    }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: super::super::hex_digest(bytes), length: bytes.len() as u64 }
}

#[test]
fn a_call_is_answered_behind_what_others_left_and_after_it_was_repeated() {
    let (mut client, mut host) = pair();
    let call = Call::new().unwrap();
    client.send_raw(&[3; 100_000]);
    client.send_raw(Call::new().unwrap().bytes());
    client.send_raw(b"of somebody who hung up");
    client.send_raw(call.bytes());
    client.send_raw(&call.bytes()[..10]);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(answer_call(&mut host, &KEY, STALL).unwrap());
            let first = host.receive::<ToHost>(soon()).unwrap().unwrap();
            assert!(matches!(first, ToHost::Offer(_)));
        });
        client.flush(soon()).unwrap();
        assert!(await_answer(&mut client, &call).is_empty());
        client.send_raw(&call.bytes()[10..]);
        client.send(&ToHost::Offer([blob(b"k"), blob(b"i"), blob(b"l")]));
        client.flush(soon()).unwrap();
    });
}

#[test]
fn a_second_caller_is_answered_though_nobody_saw_the_first_one_hang_up() {
    let (mut client, mut host) = pair();
    thread::scope(|scope| {
        let first = scope.spawn(|| answer_call(&mut host, &KEY, STALL).unwrap());
        for _ in 0..2 {
            let call = Call::new().unwrap();
            client.send_raw(call.bytes());
            await_answer(&mut client, &call);
        }
        // Nobody says anything more.
        assert!(!first.join().unwrap());
    });
}

#[test]
fn files_arrive_whole_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let kernel: Vec<u8> = (0..1_000_003u32).map(|n| (n % 251) as u8).collect();
    let initramfs = b"small".to_vec();
    let mut former = Vec::new();
    for needed in [true, false] {
        let (mut client, host) = pair();
        client.send(&ToHost::Offer([blob(&kernel), blob(&initramfs), blob(b"luggage")]));
        client.flush(soon()).unwrap();
        let order = thread::scope(|scope| {
            let order = scope.spawn(|| take_order(&RefCell::new(host), folder.path(), STALL));
            let need = client.receive::<FromHost>(soon()).unwrap().unwrap();
            let FromHost::Need(all) = need else { panic!("{need:?}") };
            // What a scenario brings is each run's own, though others bring the same.
            assert_eq!(all, [needed, needed, true]);
            if needed {
                client.send_raw(&kernel);
                client.send_raw(&initramfs);
            }
            client.send_raw(b"luggage");
            // In one go with the files: a read does not end where a file ends.
            client.send(&run_order());
            client.flush(soon()).unwrap();
            order.join().unwrap()
        });
        let Ok((order, _, luggage)) = order else { panic!("refused") };
        assert_eq!(std::fs::read(&order.machine.kernel).unwrap(), kernel);
        assert_eq!(std::fs::read(&order.machine.initramfs).unwrap(), initramfs);
        assert_eq!(std::fs::read(&order.luggage).unwrap(), b"luggage");
        // The first run is over while the second one goes on.
        former.push(luggage);
        former.truncate(1);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    former.clear();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_file_that_breaks_off_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, host) = pair();
    client.send(&ToHost::Offer([blob(&[1; 100]), blob(b"i"), blob(b"l")]));
    client.flush(soon()).unwrap();
    let host = RefCell::new(host);
    let refusal = thread::scope(|scope| {
        let order = scope.spawn(|| take_order_of(host, folder.path()));
        client.receive::<FromHost>(soon()).unwrap();
        client.send_raw(&[1; 99]);
        client.flush(soon()).unwrap();
        order.join().unwrap()
    });
    assert_eq!(refusal, "received nothing for 2 s");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn nonsense_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let odd = Blob { digest: "../../init".to_owned(), length: 1 };
    let cases = [
        (protocol::encode(&run_order()).unwrap(), "a plan without its files"),
        (protocol::encode(&ToHost::Offer([odd, blob(b"i"), blob(b"l")])).unwrap(), "a digest that is none"),
        (vec![0xff; 64], "received a frame of"),
    ];
    for (bytes, expected) in cases {
        let (mut client, host) = pair();
        client.send_raw(&bytes);
        client.flush(soon()).unwrap();
        let refusal = take_order_of(RefCell::new(host), folder.path());
        assert!(refusal.contains(expected), "{refusal}");
    }
}

fn take_order_of(link: RefCell<Link>, folder: &Path) -> String {
    match take_order(&link, folder, STALL) {
        Ok(_) => panic!("it was taken"),
        Err(Refusal::Say(why)) => why,
        Err(Refusal::Link(error)) => panic!("{error}"),
    }
}
