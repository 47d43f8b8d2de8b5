# fish completion for streamvaultctl(1)

function _streamvaultctl
    set -l token (commandline -t)
    # what stands before the value in --option=value
    set -l before (string match -r -- '^--[^=]*=' "$token")
    set -l value (string replace -r -- '^--[^=]*=' '' "$token")
    set -l lines (env _STREAMVAULTCTL_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) \
        COMP_CWORD="$token" streamvaultctl 2>/dev/null)
    for line in $lines
        set -l parts (string split -m 1 "," -- $line)
        switch $parts[1]
            case dir
                printf '%s\n' "$before"(__fish_complete_directories $value)
            case file
                printf '%s\n' "$before"(__fish_complete_path $value)
            case plain
                echo "$before$parts[2]"
        end
    end
end

complete --no-files --command streamvaultctl --arguments "(_streamvaultctl)"
