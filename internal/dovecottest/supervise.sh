# Runs Dovecot for as long as its owner lives: sh -c supervise.sh sh DIRECTORY COMMAND...
#
# Standard input is a pipe from the owner. A line on it ends Dovecot. The end of
# the pipe does as well: then the owner is gone, whatever ended it, and the
# server's directory is removed in its stead.
#
# Dovecot is killed and not asked to end, because there is nothing to save and
# its master process takes 1 to 6 s to wait for the others. It is the leader of
# a process group of its own, which holds all of them.
directory=$1
shift
exec 3<&0
setsid "$@" </dev/null 3<&- &
dovecot=$!
(
	read -r _ <&3
	owner_gone=$?
	trap '' TERM
	# The group may not be there yet.
	while ! kill -s KILL -- "-$dovecot" && kill -s 0 "$dovecot"; do :; done 2>/dev/null
	exit "$owner_gone"
) &
watcher=$!
wait "$dovecot" 2>/dev/null
status=$?
kill -s TERM "$watcher" 2>/dev/null # reads on if Dovecot ended without a signal
wait "$watcher" 2>/dev/null
owner_gone=$?
case $owner_gone in
0) exit 0 ;;
1) rm -rf -- "$directory" ;;
*) exit "$status" ;;
esac
