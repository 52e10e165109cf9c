// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { ComputeLedger } from "../src/ComputeLedger.sol";
import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { ISettlement } from "../src/interfaces/ISettlement.sol";
import { Settlement } from "../src/Settlement.sol";
import { Fixture } from "./Fixture.sol";
import { Handler } from "./Handler.sol";

/// @title What holds after any sequence of actions.
contract InvariantsTest is Fixture {
    Handler private handler;
    address[] private lineHolders;

    function setUp() public {
        handler = new Handler();
        (address ledgerAt, address settlementAt) = handler.contracts();
        ledger = ComputeLedger(ledgerAt);
        settlement = Settlement(settlementAt);
        for (uint256 i = 0; i < HOLDERS; ++i) {
            lineHolders.push(handler.holderAt(i));
        }
        bytes4[] memory selectors = new bytes4[](16);
        selectors[0] = Handler.doOpen.selector;
        selectors[1] = Handler.doApprove.selector;
        selectors[2] = Handler.doShare.selector;
        selectors[3] = Handler.doContribute.selector;
        selectors[4] = Handler.doNext.selector;
        selectors[5] = Handler.doSeal.selector;
        selectors[6] = Handler.doUnmask.selector;
        selectors[7] = Handler.doAnswer.selector;
        selectors[8] = Handler.doDemand.selector;
        selectors[9] = Handler.doRelease.selector;
        selectors[10] = Handler.doClose.selector;
        selectors[11] = Handler.doWithhold.selector;
        selectors[12] = Handler.doImpostor.selector;
        selectors[13] = Handler.doWait.selector;
        selectors[14] = Handler.doBond.selector;
        selectors[15] = Handler.doCredit.selector;
        target(address(handler), selectors);
    }

    /// @dev One campaign for all of them: each is checked after every action.
    function invariant_budget_credits_states_and_counts() public view {
        assertEq(handler.violation(), bytes32(0), "no state is skipped, and only the right party acts");
        _budgetLinesAndCountsAddUp();
        _creditsAreConserved();
        _escrowsAndBondsAreTheOwnBalance();
    }

    /// @dev Reserved and spent are, exactly, what the requests and their members say, and never more than the total; so are the counts.
    function _budgetLinesAndCountsAddUp() private view {
        uint256[HOLDERS] memory reserved;
        uint256[HOLDERS] memory spent;
        for (uint256 k = 0; k < handler.count(); ++k) {
            IComputeLedger.Request memory r = handler.requestAt(k);
            bytes32 id = idOf(r);
            bool wasSealed = handler.wasSealed(id);
            IComputeLedger.RequestStatus memory status = ledger.status(id);
            uint256[5] memory reached;
            for (uint256 i = 0; i < HOLDERS; ++i) {
                uint8 stage = stageOf(id, lineHolders[i]);
                for (uint256 s = 1; s <= stage; ++s) {
                    ++reached[s];
                }
                if (wasSealed && stage >= 3) spent[i] += r.rho;
                if (!wasSealed && status.state <= 3 && stage >= 1) reserved[i] += r.rho;
            }
            assertEq(status.approved, reached[1], "approved");
            assertEq(status.shared, reached[2], "shared");
            assertEq(status.contributed, reached[3], "contributed");
            assertEq(status.unmasked, reached[4], "unmasked");
        }
        for (uint256 i = 0; i < HOLDERS; ++i) {
            IComputeLedger.Line memory l = ledger.line(lineOf(lineHolders[i]));
            assertEq(l.reserved, reserved[i], "reserved");
            assertEq(l.spent, spent[i], "spent");
            assertLe(uint256(l.reserved) + l.spent, l.total, "never above the total");
        }
    }

    function _creditsAreConserved() private view {
        address[] memory accounts = handler.accounts();
        uint256 sum = 0;
        for (uint256 i = 0; i < accounts.length; ++i) {
            sum += settlement.balanceOf(accounts[i]);
        }
        assertEq(sum, settlement.totalSupply(), "balances");
    }

    function _escrowsAndBondsAreTheOwnBalance() private view {
        uint256 escrows = 0;
        uint256 inFlight = 0;
        for (uint256 k = 0; k < handler.count(); ++k) {
            IComputeLedger.Request memory r = handler.requestAt(k);
            uint256 escrow = settlement.escrowOf(idOf(r));
            uint8 state = ledger.status(idOf(r)).state;
            assertEq(escrow, state >= 1 && state <= 5 ? r.price : 0, "an escrow lives as long as its request");
            escrows += escrow;
            if (state >= 1 && state <= 5) inFlight += r.price;
        }
        ISettlement.Bond memory bond = settlement.bondOf(broker);
        assertEq(bond.locked, inFlight, "bond locked for what is in flight");
        assertLe(bond.locked, bond.total, "bond");
        assertEq(settlement.balanceOf(address(settlement)), escrows + bond.total, "own balance");
    }
}
