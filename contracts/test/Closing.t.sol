// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { Fixture } from "./Fixture.sol";

/// @title Requests that end otherwise than by an answer.
contract ClosingTest is Fixture {
    event Closed(bytes32 indexed id, uint8 reason);

    function setUp() public {
        deploy();
    }

    function test_close_for_each_reason_refunds_and_releases_everything() public {
        IComputeLedger.Request memory r = newRequest(3);
        r.minHolders = 2;
        open(r);
        approve(r, 0);
        _refuseClose(r);
        vm.roll(r.approveBy + 1);
        _close(r, 1);

        r = newRequest(3);
        open(r);
        vm.roll(r.approveBy + 1);
        _close(r, 1);

        r = runTo(3, 1);
        share(r, 1);
        _refuseClose(r);
        vm.roll(r.shareBy + 1);
        _close(r, 2);

        r = runTo(3, 1);
        vm.roll(r.shareBy + 1);
        _close(r, 2);

        r = runTo(3, 2);
        contribute(r, 2);
        _refuseClose(r);
        vm.roll(r.contributeBy + 1);
        _close(r, 3);

        r = runTo(3, 3);
        _refuseClose(r);
        vm.roll(r.answerBy + 1);
        _close(r, 4);
    }

    function test_close_is_refused_once_sealed_and_the_second_time() public {
        IComputeLedger.Request memory r = runTo(3, 4);
        vm.roll(r.answerBy + 1);
        refuse(stranger, closeCall(r), IComputeLedger.ComputeLedgerStateWrong.selector);
        r = newRequest(3);
        open(r);
        vm.roll(r.approveBy + 1);
        perform(stranger, closeCall(r));
        refuse(stranger, closeCall(r), IComputeLedger.ComputeLedgerStateWrong.selector);
        refuse(broker, openCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerStateWrong.selector);
    }

    function test_close_needs_the_whole_roster() public {
        IComputeLedger.Request memory r = runTo(3, 1);
        vm.roll(r.shareBy + 1);
        bytes memory data = abi.encodeCall(ledger.close, (r, new IComputeLedger.Member[](0)));
        refuse(stranger, data, IComputeLedger.ComputeLedgerMembersIncomplete.selector);
    }

    function test_broker_that_had_enough_messages_and_did_not_answer_pays_the_buyer() public {
        IComputeLedger.Request memory r = runTo(3, 4);
        vm.roll(r.answerBy + 1);
        postUnmask(r, 0);
        postUnmask(r, 2);
        vm.roll(r.answerBy + WINDOW);
        refuse(stranger, withholdCall(r), IComputeLedger.ComputeLedgerTooEarly.selector);
        vm.roll(r.answerBy + WINDOW + 1);
        uint256 bond = settlement.bondOf(broker).total;
        perform(stranger, withholdCall(r));
        assertEq(stateOf(r), 8, "withheld");
        assertEq(settlement.bondOf(broker).total, bond - PRICE, "the bond paid");
        assertEq(settlement.bondOf(broker).locked, 0, "nothing is locked");
        assertEq(settlement.balanceOf(buyer), FUNDS, "the buyer has its price back");
        assertEq(settlement.balanceOf(holders[1]), 3002, "a survivor is paid, posted or not");
        assertEq(settlement.balanceOf(platform), PRICE - 3 * 3002, "the broker's share is the platform's");
        assertEq(ledger.line(lineOf(holders[0])).spent, RHO, "what was charged stays charged");
        refuse(stranger, withholdCall(r), IComputeLedger.ComputeLedgerStateWrong.selector);
        refuse(broker, answerCall(r, keccak256("answer")), IComputeLedger.ComputeLedgerStateWrong.selector);
    }

    function test_nobody_is_blamed_when_too_few_unmasked() public {
        IComputeLedger.Request memory r = runTo(3, 4);
        postUnmask(r, 1);
        vm.roll(r.answerBy + WINDOW + 1);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Closed(idOf(r), 5);
        perform(stranger, withholdCall(r));
        assertEq(stateOf(r), 7, "closed");
        assertEq(settlement.balanceOf(buyer), FUNDS, "refunded");
        assertEq(settlement.bondOf(broker).total, FUNDS, "no bond was lost");
        assertEq(settlement.balanceOf(holders[1]), 0, "nobody is paid");
        assertEq(ledger.line(lineOf(holders[1])).spent, RHO, "what was charged stays charged");
    }

    function test_unmask_is_posted_by_survivors_once_and_in_time() public {
        IComputeLedger.Request memory r = runTo(4, 2);
        refuse(holders[0], unmaskCall(r, 0), IComputeLedger.ComputeLedgerStateWrong.selector);
        contribute(r, 0);
        contribute(r, 1);
        contribute(r, 2);
        vm.roll(r.contributeBy + 1);
        seal(r);
        refuse(holders[3], unmaskCall(r, 3), IComputeLedger.ComputeLedgerStageWrong.selector);
        refuse(holders[1], unmaskCall(r, 0), IComputeLedger.ComputeLedgerCallerWrong.selector);
        postUnmask(r, 0);
        refuse(holders[0], unmaskCall(r, 0), IComputeLedger.ComputeLedgerStageWrong.selector);
        vm.roll(r.answerBy + WINDOW / 2);
        postUnmask(r, 1);
        vm.roll(r.answerBy + WINDOW / 2 + 1);
        refuse(holders[2], unmaskCall(r, 2), IComputeLedger.ComputeLedgerTooLate.selector);
    }

    function test_unmask_of_another_shape_is_refused() public {
        IComputeLedger.Request memory r = runTo(3, 4);
        bytes32 share_ = keccak256("share");
        bytes memory one = abi.encodePacked(uint16(0), uint8(1), share_);
        bytes memory two = abi.encodePacked(uint16(1), uint8(1), share_);
        bytes memory three = abi.encodePacked(uint16(2), uint8(1), share_);
        _refuseUnmask(r, "");
        _refuseUnmask(r, abi.encodePacked(uint16(2), one, two));
        _refuseUnmask(r, abi.encodePacked(uint16(2), one, two, three));
        _refuseUnmask(r, abi.encodePacked(uint16(3), one, two, three, uint8(0)));
        _refuseUnmask(r, abi.encodePacked(uint16(3), one, one, three));
        _refuseUnmask(r, abi.encodePacked(uint16(3), two, one, three));
        _refuseUnmask(r, abi.encodePacked(uint16(3), one, two, uint16(3), uint8(1), share_));
        _refuseUnmask(r, abi.encodePacked(uint16(3), one, two, uint16(2), uint8(2), share_));
        _refuseUnmask(r, abi.encodePacked(uint16(3), one, two, uint16(2), uint8(0), share_));
        _refuseUnmask(r, abi.encodePacked(uint16(3), one, two, uint16(2), uint8(3), share_));
        bytes memory right = abi.encodePacked(uint16(3), one, two, three);
        perform(holders[0], abi.encodeCall(ledger.postUnmask, (r, memberOf(idOf(r), holders[0]), right)));
    }

    function _refuseUnmask(IComputeLedger.Request memory r, bytes memory payload) private {
        bytes memory data = abi.encodeCall(ledger.postUnmask, (r, memberOf(idOf(r), holders[0]), payload));
        refuse(holders[0], data, IComputeLedger.ComputeLedgerUnmaskMalformed.selector);
    }

    function _refuseClose(IComputeLedger.Request memory r) private {
        refuse(stranger, closeCall(r), IComputeLedger.ComputeLedgerNotClosable.selector);
    }

    function _close(IComputeLedger.Request memory r, uint8 reason) private {
        bytes memory data = closeCall(r);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Closed(idOf(r), reason);
        perform(stranger, data);
        assertEq(stateOf(r), 7, "closed");
        assertEq(settlement.balanceOf(buyer), FUNDS, "refunded");
        assertEq(settlement.bondOf(broker).locked, 0, "bond free");
        assertEq(settlement.escrowOf(idOf(r)), 0, "no escrow");
        for (uint256 i = 0; i < 3; ++i) {
            IComputeLedger.Line memory l = ledger.line(lineOf(holders[i]));
            assertEq(l.reserved + l.spent, 0, "budget released");
        }
    }
}
