# Completion of spo for bash. The command answers with a line a candidate, `word⇥what it is`, and :files or :folders.
_spo_complete() {
  local line=${COMP_LINE:0:COMP_POINT} words word cut candidate
  COMPREPLY=()
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  if [[ ${words[0]##*/} == npx ]]; then
    [[ ${words[1]} == spo && ${#words[@]} -gt 2 ]] || return
    words=("${words[@]:1}")
  fi
  # Bash parts a word at = and :, and puts candidates in place of the last part.
  word=${words[${#words[@]} - 1]}
  cut=${word%"${word##*[=:]}"}
  [[ $cut == *:* && $COMP_WORDBREAKS != *:* ]] && cut=${word%"${word##*=}"}
  compopt +o default
  while IFS= read -r candidate; do
    case $candidate in
      :files)
        compopt -o default
        [[ ${COMPREPLY[*]} == *:* ]] || compopt -o filenames # which would write pickscore\:
        while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "${word#"$cut"}")
        ;;
      :folders)
        compopt -o default -o filenames
        while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -d -- "${word#"$cut"}")
        ;;
      *)
        candidate=${candidate%%$'\t'*}
        COMPREPLY+=("${candidate#"$cut"}")
        [[ $candidate == *: ]] && compopt -o nospace
        ;;
    esac
  done < <(@ASK@ "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _spo_complete spo npx
