# Completion of spo for fish. The command answers with a line a candidate, `word⇥what it is`, and :files or :folders.
function __spo_complete
    set -l words (commandline -opc) (commandline -ct)
    if string match -qr '(^|/)npx$' -- $words[1]
        set -e words[1]
    end
    for line in (@ASK@ $words[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':folders'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end
complete -c spo -f -a '(__spo_complete)'
complete -c npx -n '__fish_seen_subcommand_from spo' -f -a '(__spo_complete)'
