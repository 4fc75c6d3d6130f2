//! `rrto certs`: makes certificates and says where they belong.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rrto_certs::SERVER_NAME;

/// The robot whose certificate is made if none is named.
const DEFAULT_ROBOT: &str = "robot";

/// Make certificates: an authority's, the server's, and each robot's
///
/// The server takes only robots of its authority, and a robot takes only a server of its authority. Existing files
/// are never overwritten.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct CertsArgs {
    /// Where to make them; the directory is made too
    dir: PathBuf,
    /// Another name or address of the server, for tools that look at it; RRTO's own check does not need any, so the
    /// server may move
    #[arg(long, value_name = "NAME_OR_IP")]
    server: Vec<String>,
    /// A robot's name; can be given several times [default: robot]
    #[arg(long, value_name = "NAME")]
    robot: Vec<String>,
    /// Make a certificate for one more robot, with the authority that is in the directory
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server", "robot"])]
    add_robot: Option<String>,
    /// Make another certificate for a server, with the authority that is in the directory: for one that expires
    #[arg(long, conflicts_with_all = ["robot", "add_robot"])]
    add_server: bool,
    /// Make the secret of a relay's room, by which server and robots behind address translators meet
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server", "robot", "add_robot", "add_server"])]
    add_room: Option<String>,
    /// Lock a robot out: its certificate is good no longer, once the server has the list that this is written to
    #[arg(long, value_name = "NAME", conflicts_with_all = ["server", "robot", "add_robot", "add_room"])]
    revoke: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  rrto certs certs                              A server and one robot
  rrto certs certs --robot spot --robot rex     A server and two robots
  rrto certs certs --add-robot fido             One more robot, later
  rrto certs certs --revoke fido                Lock that robot out
  rrto certs certs --add-server                 Another certificate for the server, when the old one is moved away
  rrto certs certs --add-room robots            A room of a relay, for a server that cannot be reached otherwise";

/// Makes them and prints what to do next.
pub(crate) fn run(arguments: &CertsArgs) -> Result<()> {
    let dir = &arguments.dir;
    if let Some(robot) = &arguments.revoke {
        rrto_certs::revoke(dir, robot)?;
        io::stdout().write_all(revoked_instructions(dir, robot).as_bytes())?;
        return Ok(());
    }
    let text = match (&arguments.add_robot, &arguments.add_room) {
        (_, Some(room)) => room_instructions(dir, &rrto_certs::add_room(dir, room)?, room),
        (Some(robot), None) => {
            rrto_certs::add_robot(dir, robot)?;
            robot_instructions(dir, robot)
        }
        (None, None) if arguments.add_server => {
            rrto_certs::add_server(dir, &server_names(&arguments.server))?;
            server_instructions(dir)
        }
        (None, None) => {
            let robots = match arguments.robot.as_slice() {
                [] => vec![DEFAULT_ROBOT.to_owned()],
                named => named.to_vec(),
            };
            rrto_certs::create_all(dir, &server_names(&arguments.server), &robots)?;
            let mut text = server_instructions(dir);
            text.extend(robots.iter().map(|robot| robot_instructions(dir, robot)));
            text + &authority_instructions(dir)
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The fixed name that robots ask for comes first.
fn server_names(given: &[String]) -> Vec<&str> {
    let others = given.iter().map(String::as_str).filter(|name| *name != SERVER_NAME);
    std::iter::once(SERVER_NAME).chain(others).collect()
}

/// A pipe keeps the keys' permissions, and needs nothing that is not everywhere.
fn copy(dir: &Path, files: &[String], host: &str, to: &str) -> String {
    let files = files.join(" ");
    let dir = dir.display();
    format!("    tar -C {dir} -c {files} | ssh {host} 'mkdir -p -m 700 {to} && tar -C {to} -x'\n")
}

fn server_instructions(dir: &Path) -> String {
    let files = ["ca.pem", "server.pem", "server.key"].map(String::from);
    let mut text =
        String::from("The server (if it is not this machine) gets ca.pem, server.pem and server.key:\n");
    text += &copy(dir, &files, "SERVER", "certs");
    text += "    ssh SERVER rrto-gpud --certs certs\n";
    text
}

fn robot_instructions(dir: &Path, robot: &str) -> String {
    let files = ["ca.pem".into(), format!("robots/{robot}.pem"), format!("robots/{robot}.key")];
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "The robot {robot} gets {}, {} and {}:", files[0], files[1], files[2]);
    text += &copy(dir, &files, robot, "~/.config/rrto");
    text
}

fn room_instructions(dir: &Path, path: &Path, room: &str) -> String {
    let mut text = format!("The relay gets {}, in a directory of rooms:\n", path.display());
    text += &format!(
        "    tar -C {} -c {room}.key | ssh RELAY 'mkdir -p -m 700 rooms && tar -C rooms -x'\n",
        dir.join("rooms").display()
    );
    text += "    ssh RELAY rrto-gpud relay --rooms rooms\n";
    text += "The server and the robots get it beside their certificates:\n";
    let file = [format!("rooms/{room}.key")];
    text += &copy(dir, &file, "SERVER", "certs");
    text += &format!("    ssh SERVER rrto-gpud --certs certs --relay relay://RELAY:7787/{room}\n");
    text += &copy(dir, &file, "ROBOT", "~/.config/rrto");
    text
}

fn revoked_instructions(dir: &Path, robot: &str) -> String {
    let dir_name = dir.display();
    let mut text = format!(
        "The robot {robot} is locked out as soon as the server has the list, and is told to read it:\n"
    );
    text += &format!(
        "    tar -C {dir_name} -c revoked.txt | ssh SERVER 'tar -C certs -x && pkill -HUP -x rrto-gpud'\n"
    );
    text += &format!(
        "To give that robot another certificate, move {dir_name}/robots/{robot}.pem and .key away first.\n"
    );
    text
}

fn authority_instructions(dir: &Path) -> String {
    format!(
        "{} stays here and is worth a backup: whoever has it can make certificates.\n",
        dir.join("ca.key").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_name_is_always_there() {
        assert_eq!(server_names(&[]), [SERVER_NAME]);
        let given = [SERVER_NAME.to_owned(), "gpu.lan".to_owned()];
        assert_eq!(server_names(&given), [SERVER_NAME, "gpu.lan"]);
    }

    #[test]
    fn instructions_name_files_that_exist() {
        let dir = tempfile::tempdir().unwrap();
        let arguments = CertsArgs {
            dir: dir.path().join("certs"),
            server: Vec::new(),
            robot: vec!["spot".into()],
            add_robot: None,
            add_server: false,
            add_room: None,
            revoke: None,
        };
        run(&arguments).unwrap();
        let text = server_instructions(&arguments.dir) + &robot_instructions(&arguments.dir, "spot");
        let mut named = 0;
        for line in text.lines().filter(|line| line.contains("tar -C")) {
            let files = line.split(" -c ").nth(1).unwrap().split(" | ").next().unwrap();
            for file in files.split(' ') {
                assert!(arguments.dir.join(file).is_file(), "{file}");
                named += 1;
            }
        }
        assert_eq!(named, 6);
        assert!(run(&arguments).is_err(), "existing files are overwritten");
        let dir = arguments.dir.clone();
        run(&CertsArgs { robot: Vec::new(), add_robot: Some("rex".into()), ..arguments }).unwrap();
        let room = CertsArgs {
            dir: dir.clone(),
            server: vec![],
            robot: vec![],
            add_robot: None,
            add_server: false,
            add_room: Some("r".into()),
            revoke: None,
        };
        run(&room).unwrap();
        assert!(dir.join("rooms/r.key").is_file());
        let renew = CertsArgs { add_server: true, add_room: None, ..room };
        assert!(run(&renew).is_err(), "existing files are overwritten");
        std::fs::remove_file(dir.join("server.pem")).unwrap();
        std::fs::rename(dir.join("server.key"), dir.join("old.key")).unwrap();
        run(&renew).unwrap();
        assert!(dir.join("server.pem").is_file());
        run(&CertsArgs { add_server: false, revoke: Some("rex".into()), ..renew }).unwrap();
        assert!(dir.join("revoked.txt").is_file());
    }
}
