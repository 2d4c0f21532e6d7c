package postgres

// statements lists every statement that names the schema. A test prepares each of them.
func statements() []string {
	return append(flowStatements(), []string{
		insertSQL, insertPlainSQL, insertKeyedSQL, settleSQL, sealedSQL, resealSQL, requestSQL, answerRequestSQL, forgetRequestsSQL,
		claimSQL, claimPlainSQL, claimNextSQL, claimNextPlainSQL, claimTurnsSQL, leftBehindSQL, waitSQL, grantedSQL, releaseUnknownSQL,
		recordSQL, recordFinishedSQL, recordedSQL, noteSQL,
		registerSQL, renewSQL, deregisterSQL, removeHolderSQL, consumersSQL, leadSQL, resignSQL,
		lookSQL, dueSQL, outboxSQL, announcedSQL, unannouncedSQL, announceLaterSQL, oldestSQL, readyFromSQL, liveBandsSQL,
		headsOfSQL, headsSQL, mendGroupsSQL,
		deadSQL, rescueSQL, firstHeldSQL, buryDeadSQL, expirySQL, firstDueSQL,
		retainSQL, retainKeysSQL,
		admitSQL, lockSQL, unlockSQL, enterSQL, reportSQL, retainGuardsSQL,
		faultsSQL, mendHoldersSQL, mendGroupRowsSQL, mendMembersSQL, mendKeysSQL,
		claimableSQL, claimableHeadsSQL, claimableOfSQL, readyOfSQL,
		statesSQL, cancelSQL, askCancelSQL, deleteSQL, deleteHistorySQL, retryLiveSQL, retryHistorySQL, retryKeysSQL, retrySQL, editSQL, sealedOfSQL,
		beginChangeSQL, changesSQL, lockChangeSQL, noteChangeSQL, unnoteChangeSQL, passChangeSQL, endChangeSQL, followSQL, forgetChangesSQL, conflictsSQL,
		undoneNextSQL, undoableSQL, restoreSQL, restoreEndSQL, markUndoneSQL,
		clearSQL, endedSQL, backlogSQL,
		restartSQL, pauseSQL, resumeSQL, pauseOfSQL, resumeOfSQL, pausesSQL, reannounceSQL, reannounceGroupsSQL, queuesSQL,
		schedulesSQL, dueSchedulesSQL, makeSchedulesSQL, moveSchedulesSQL, removeSchedulesSQL, withdrawSQL, takenTicksSQL, plantedSQL, forgetTicksSQL,
		seeSchedulesSQL, scheduleRunsSQL,
		wakeSQL,
		kindsSQL, editKindSQL, idleKindsSQL, pruneKindsSQL, disableKindSQL, kindSettingsSQL, kindEditionSQL, setKindSettingsSQL, knownKindSQL,
		tellSQL, toldSQL, linesSQL, lastLinesSQL, clearLinesSQL, pruneLinesSQL, retainProgressSQL,
		historySQL, endedByKindSQL, noteOrderSQL, noteEditSQL, forgetEventsSQL,
		beginFileSQL, endFileSQL, filesSQL, lostFilesSQL, forgetFilesSQL, writePartSQL, readPartSQL, removePartsSQL,
		explainSQL, explainPausesSQL, explainTakersSQL, explainBlockerSQL, explainCrowdSQL, explainPositionSQL,
		getSQL, statsSQL, unfinishedSQL, gaugesSQL,
		examineServerSQL, examineClockSQL, examineRightsSQL, examineWorkSQL,
		prepareSQL, migrateLockSQL, appliedSQL, schemaExistsSQL, noteMigrationSQL, configureSQL, configureKindsSQL,
	}...)
}
