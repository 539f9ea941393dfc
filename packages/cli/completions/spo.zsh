#compdef spo
# Completion of spo for zsh. The command answers with a line a candidate, `word⇥what it is`, and :files or :folders.
_spo() {
  local -a found begun
  local line files=
  if [[ $words[1] == npx ]]; then
    if [[ $words[2] != spo ]] || (( CURRENT < 3 )); then
      _default
      return
    fi
    shift words
    (( CURRENT-- ))
  fi
  for line in "${(@f)$(@ASK@ "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      :files) files='_files' ;;
      :folders) files='_files -/' ;;
      *:$'\t'*) begun+=("${line%%$'\t'*}") ;;
      ?*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
    esac
  done
  (( $#found )) && _describe spo found
  (( $#begun )) && compadd -S '' -a begun
  if [[ -n $files ]]; then
    compset -P '*[=:]'
    ${=files}
  fi
}
compdef _spo spo npx
