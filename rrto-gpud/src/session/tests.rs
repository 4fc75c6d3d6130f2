use std::sync::atomic::Ordering;

use crate::executor::fake::{FAILS, FakeDevice, PANICS, Script, answers, completes_after};

use super::*;

/// The ending, what was left open on the device, and the reasons that the client was told.
fn serve_script(device: &FakeDevice, script: &Script) -> (Ending, u32, Vec<String>) {
    let ending = execute(script, device, Limits::default());
    (ending, device.open.load(Ordering::SeqCst), script.ended.borrow().clone())
}

#[test]
fn an_ordinary_end_frees_everything() {
    let script = Script::new([answers(1), FAILS, completes_after(3)]);
    let (ending, open, told) = serve_script(&FakeDevice::default(), &script);
    assert!(matches!(ending, Ending::Over(_)), "{ending:?}");
    assert_eq!((open, told), (0, vec![]));
    assert_eq!(script.finished_numbers(), [1, 2, 3]);
}

#[test]
fn a_panic_ends_its_session_only() {
    let device = FakeDevice::default();
    let (ending, open, told) = serve_script(&device, &Script::new([completes_after(9), PANICS, answers(1)]));
    assert!(matches!(&ending, Ending::Panic(message) if message == "told to"), "{ending:?}");
    assert_eq!((open, told), (0, vec![BUG.to_owned()]));

    let (ending, open, told) = serve_script(&device, &Script::new([answers(1)]));
    assert!(matches!(ending, Ending::Over(_)), "{ending:?}");
    assert_eq!((open, told), (0, vec![]));
}

#[test]
fn panics_while_opening_and_freeing_are_isolated_too() {
    let device = FakeDevice { panics_on_open: true, ..FakeDevice::default() };
    let (ending, _, told) = serve_script(&device, &Script::new([answers(1)]));
    assert!(matches!(&ending, Ending::Panic(message) if message == "cannot even open"), "{ending:?}");
    assert_eq!(told, [BUG]);

    let device = FakeDevice { panics_on_drop: true, ..FakeDevice::default() };
    for operator in [answers(1), PANICS] {
        let (ending, open, told) = serve_script(&device, &Script::new([operator]));
        assert!(matches!(ending, Ending::Panic(_)), "{ending:?}");
        assert_eq!((open, told), (0, vec![BUG.to_owned()]));
    }
}

#[test]
fn a_full_device_is_told() {
    let device = FakeDevice { has_no_room: true, ..FakeDevice::default() };
    let (ending, _, told) = serve_script(&device, &Script::new([answers(1)]));
    assert!(matches!(ending, Ending::Device(_)), "{ending:?}");
    assert_eq!(told, ["the server cannot use its device: no room"]);
}
