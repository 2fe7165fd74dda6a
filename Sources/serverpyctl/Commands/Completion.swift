import Shared

extension Command {
    static let completion = Command(
        name: "completion", operands: "SHELL", summary: "Print a completion script for bash, zsh or fish.",
        details: """
            Put its output where the shell looks for completions, or evaluate it:
              bash: source <(serverpyctl completion bash)
              zsh:  serverpyctl completion zsh > "${fpath[1]}/_serverpyctl"
              fish: serverpyctl completion fish | source
            """,
        options: [], example: "serverpyctl completion bash"
    ) { options throws(CommandFault) in
        let shown = Command.all.filter { !$0.isHidden }
        let script: String
        switch options.operands[0] {
        case "bash": script = CompletionScript.bash(shown)
        case "zsh": script = CompletionScript.zsh(shown)
        case "fish": script = CompletionScript.fish(shown)
        case let other:
            throw CommandFault(
                code: ExitCode.usage,
                message:
                    "serverpyctl completion: `\(Text.shown(other.utf8))` is no shell known here; bash, zsh and fish are"
            )
        }
        try StandardOutput.write(script)
        return ExitCode.done
    }
}

/// Completion scripts, made from the commands' own descriptions.
enum CompletionScript {
    private static func options(_ command: Command) -> [Options.Spec] { command.options + [Command.help] }

    /// Words that a command takes at its first operand.
    private static func words(_ command: Command) -> [String] {
        switch command.name {
        case "completion": ["bash", "zsh", "fish"]
        case "restart": ["forwarder", "discoveryd", "all"]
        case "explain": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        case "help": Command.all.filter { !$0.isHidden }.map(\.name)
        default: []
        }
    }

    static func bash(_ commands: [Command]) -> String {
        var text = "# bash completion for serverpyctl, made by `serverpyctl completion bash`\n_serverpyctl() {\n"
        text += "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n    COMPREPLY=()\n"
        text += "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        text +=
            "        COMPREPLY=($(compgen -W \"\(commands.map(\.name).joined(separator: " ")) --help --version\" -- \"$word\"))\n        return\n    fi\n"
        text += "    case $before in\n"
        text += "        -c|--config|-o|--output) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
        text += "        --runtime-dir|--state-dir) COMPREPLY=($(compgen -d -- \"$word\")); return ;;\n    esac\n"
        text += "    case ${COMP_WORDS[1]} in\n"
        for command in commands {
            let words = options(command).flatMap { ["--\($0.name)"] + ($0.short.map { ["-\($0)"] } ?? []) }
            let all = (words + Self.words(command)).joined(separator: " ")
            text += "        \(command.name)) COMPREPLY=($(compgen -W \"\(all)\" -- \"$word\")) ;;\n"
        }
        return text + "    esac\n}\ncomplete -F _serverpyctl serverpyctl\n"
    }

    static func zsh(_ commands: [Command]) -> String {
        func quoted(_ text: String) -> String {
            text.replacing("'", with: "'\\''").replacing("[", with: "\\[").replacing("]", with: "\\]").replacing(
                ":", with: "\\:")
        }
        var text =
            "#compdef serverpyctl\n# made by `serverpyctl completion zsh`\n_serverpyctl() {\n    local -a commands=(\n"
        for command in commands { text += "        '\(command.name):\(quoted(command.summary))'\n" }
        text += "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
        text += "    case $words[2] in\n"
        for command in commands {
            text += "        \(command.name)) _arguments"
            for option in options(command) {
                let isFile = ["config", "output"].contains(option.name)
                let isDirectory = option.name.hasSuffix("-dir")
                let value = option.value.map { ":\($0):\(isDirectory ? "_files -/" : isFile ? "_files" : "")" } ?? ""
                text += " '--\(option.name)[\(quoted(option.help))]\(value)'"
            }
            let words = Self.words(command)
            if !words.isEmpty { text += " '2:operand:(\(words.joined(separator: " ")))'" }
            text += " ;;\n"
        }
        return text + "    esac\n}\n_serverpyctl \"$@\"\n"
    }

    static func fish(_ commands: [Command]) -> String {
        func quoted(_ text: String) -> String { text.replacing("\\", with: "\\\\").replacing("'", with: "\\'") }
        var text =
            "# fish completion for serverpyctl, made by `serverpyctl completion fish`\ncomplete -c serverpyctl -f\n"
        for command in commands {
            text +=
                "complete -c serverpyctl -n __fish_use_subcommand -a \(command.name) -d '\(quoted(command.summary))'\n"
            let condition = "-n '__fish_seen_subcommand_from \(command.name)'"
            for option in options(command) {
                let short = option.short.map { " -s \($0)" } ?? ""
                let isPath = option.name.hasSuffix("-dir") || ["config", "output"].contains(option.name)
                let value = option.value == nil ? "" : isPath ? " -r -F" : " -x"
                text +=
                    "complete -c serverpyctl \(condition) -l \(option.name)\(short)\(value) -d '\(quoted(option.help))'\n"
            }
            for word in words(command) { text += "complete -c serverpyctl \(condition) -a \(word)\n" }
        }
        return text
    }
}
