# fish completion for streamvaultctl(1)

function _streamvaultctl
    set -l lines (env _STREAMVAULTCTL_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) \
        COMP_CWORD=(commandline -t) streamvaultctl 2>/dev/null)
    for line in $lines
        set -l parts (string split -m 1 "," -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -t)
            case file
                __fish_complete_path (commandline -t)
            case plain
                echo $parts[2]
        end
    end
end

complete --no-files --command streamvaultctl --arguments "(_streamvaultctl)"
