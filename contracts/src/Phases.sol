// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IComputeLedger } from "./interfaces/IComputeLedger.sol";

/// @title What follows from a request, its counts and the block number: parameters, which phase is over, why a request must close.
library Phases {
    uint256 private constant MAX_HOLDERS = 1024;

    uint8 internal constant REASON_ROSTER = 1;
    uint8 internal constant REASON_SHARED = 2;
    uint8 internal constant REASON_CONTRIBUTED = 3;
    uint8 internal constant REASON_UNSEALED = 4;
    uint8 internal constant REASON_UNANSWERED = 5;

    /// @notice docs/protocol.md §3, with n approvals.
    /// @dev Sums of 16-bit numbers, and no difference of a smaller and a larger one: nothing can wrap.
    function parameters(IComputeLedger.Request calldata request, uint256 n)
        internal
        pure
        returns (IComputeLedger.Parameters memory p)
    {
        uint256 c = request.colluders;
        unchecked {
            uint256 t = (n + c) / 2 + 1;
            if (t > n || n > MAX_HOLDERS || n < request.minHolders) return p;
            uint256 d = n - t < request.dropouts ? n - t : request.dropouts;
            if (c + d >= n) return p;
            uint256 floor = t > n - d ? t : n - d;
            if (floor < request.minHolders) floor = request.minHolders;
            return IComputeLedger.Parameters(true, uint16(t), uint16(d), uint16(floor), uint16(n - c - d));
        }
    }

    function isRosterClosed(IComputeLedger.Request calldata request, uint256 approved)
        internal
        view
        returns (bool)
    {
        return approved == request.holders || block.number > request.approveBy;
    }

    function isSharingClosed(IComputeLedger.Request calldata request, uint256 approved, uint256 shared)
        internal
        view
        returns (bool)
    {
        return isRosterClosed(request, approved) && (shared == approved || block.number > request.shareBy);
    }

    /// @dev Only asked when sharing is closed: nobody contributes before, and `shared` is final after.
    function isContributingClosed(
        IComputeLedger.Request calldata request,
        uint256 shared,
        uint256 contributed
    ) internal view returns (bool) {
        return contributed == shared || block.number > request.contributeBy;
    }

    /// @notice Why a request that is not sealed never will be; 0 if it still can be.
    function closingReason(IComputeLedger.Request calldata request, IComputeLedger.RequestStatus memory s)
        internal
        view
        returns (uint8)
    {
        if (!isRosterClosed(request, s.approved)) return 0;
        IComputeLedger.Parameters memory p = parameters(request, s.approved);
        if (!p.valid) return REASON_ROSTER;
        if (!isSharingClosed(request, s.approved, s.shared)) return 0;
        if (s.shared < p.floor) return REASON_SHARED;
        if (!isContributingClosed(request, s.shared, s.contributed)) return 0;
        if (s.contributed < p.floor) return REASON_CONTRIBUTED;
        return block.number > request.answerBy ? REASON_UNSEALED : 0;
    }
}
